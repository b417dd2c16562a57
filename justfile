# What people run most. Everything is a subcommand of the harness in e2e/.

# list the recipes
default:
    @{{ just_executable() }} --list

# the guided tour, on a real kernel in a virtual machine
demo *args:
    go run ./e2e demo {{ args }}

# lint, tests on the host, tests on every kernel
test *args:
    go run ./e2e test {{ args }}

# the same on every kernel there is, with all rounds of the long tests: for the night
test-all *args:
    go run ./e2e test --all {{ args }}

# dmsnap ended in every way at every step on every kernel, and the power cut at random: hours; writes docs/torture.md
torture *args:
    go run ./e2e torture {{ args }}

# vet, formatting, staticcheck
lint:
    go run ./e2e lint

# figures measured on a real kernel
bench *args:
    go run ./e2e bench {{ args }}

# binaries, deb and rpm in packages/
package *args:
    go run ./e2e package {{ args }}

# format all sources
fmt:
    go tool -modfile=e2e/tools/go.mod gofumpt -w .
