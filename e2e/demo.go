package main

import (
	"context"
	"errors"
)

// runDemo shows the tool at work on a real kernel.
func runDemo(context.Context, []string) error {
	return errors.New("there is no demo yet")
}

// runBench prints figures measured on a real kernel.
func runBench(context.Context, []string) error {
	return errors.New("there are no benchmarks yet")
}
