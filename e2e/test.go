package main

import "context"

func runTest(ctx context.Context, args []string) error { return nil }

func runLint(ctx context.Context, args []string) error { return nil }
