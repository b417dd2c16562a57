// Package store knows the kinds of exception stores: a device, a file, memory, or auto.
//
// [Parse] turns a store specification into a [Kind], whose Inspect looks up what exists
// and refuses what cannot serve; the result, a plan.Store, says what the store's device
// is made of. A [Pin] keeps the filesystem of a store's file from being unmounted.
// [Layout] and [FindArea] tell where a file lies, [Damage] whether that has changed, and
// [Read] reads the exceptions of a persistent store.
//
// Inspecting changes nothing. Only pins and their flags are made here; files and devices
// are made by package run.
package store
