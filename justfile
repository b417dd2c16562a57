# What people run most. Everything is a subcommand of the harness in e2e/.

arm64 := 'TestProof|TestLoadedAndUnloaded|TestHookOnlyWhileAttached|TestRuleBDecides|TestOverlap|TestCycles|TestInterposedPartition|TestGuard|TestBothKilled|TestGuestWindow'

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

# the module on Debian's kernel with real-time preemption: for the night
test-rt *args:
    go run ./e2e test --all --guest-only --kernel 6.1-rt {{ args }} ./e2e/interpose ./freeze

# on an emulated arm64 what depends on the processor: the module, cuts, the guard, ends of the tool; for the night
test-arm64 *args:
    go run ./e2e test --all --guest-only --kernel 6.12-arm64 --run '{{ arm64 }}' {{ args }} ./e2e/interpose ./e2e/scenarios ./dm ./freeze

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
