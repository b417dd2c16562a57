// Package plan turns facts and a request into the ordered steps of one operation.
//
// [Create], [Remove], [Extend], [AttachOnly] and [Flatten] each take a request that
// contains all facts, and return a [Plan], or an error made by [Refuse]. A [Step] names devices
// by their device-mapper names, since numbers do not exist yet. A [Redirector] plans
// how the writers of one kind of origin are led through a snapshot-origin. All names and
// uuids are made in names.go.
//
// The package is pure: no clock, no randomness, no kernel. So plans are compared with
// golden files and checked against the ordering rules of docs/architecture.md, and what
// --dry-run prints is what package run carries out.
package plan
