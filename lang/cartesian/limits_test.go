// SPDX-License-Identifier: Apache-2.0

package cartesian_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/mhmig/mhmig/lang/cartesian"
)

// TestLimitsOfVariants are what small configs may not make of themselves.
func TestLimitsOfVariants(t *testing.T) {
	t.Parallel()
	nested := strings.Repeat("variants:\n  - a:\n    suffix _x\n", 40)
	for _, tt := range []struct{ name, config, want string }{
		{"doubling", "a = x\n" + strings.Repeat("a += ${a}\n", 30), "the value has more than 1048576 bytes"},
		{"doubling by a pattern", "a = x\n" + strings.Repeat("a ?= ${a}${a}\n", 30), "the value has more than 1048576 bytes"},
		{"suffixes", "a = x\n" + nested, "a key gets more than 32 suffixes"},
		{"long pattern", strings.Repeat("a", 5000) + " ?= x", "a pattern of more than 4096 bytes"},
		{"large pattern", "((a{1,100}){1,100}){1,100} ?= x", "invalid repeat count"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := parseText(t, tt.config).Write(t.Context(), io.Discard, cartesian.JSON, -1, cartesian.Options{})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %.300v, want %s", err, tt.want)
			}
		})
	}
}

// TestLargeVariant has one variant with many keys, which patterns change again and again.
func TestLargeVariant(t *testing.T) {
	if testing.Short() {
		t.Skip("NOT TESTED: -short leaves out what takes seconds")
	}
	var b strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&b, "k%d = %d\n", i, i)
	}
	for range 2000 {
		b.WriteString("k.* ?= x\nk.* ?= y\n")
	}
	c := parseText(t, b.String())
	cause := errors.New("interrupted")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 200*time.Millisecond, cause)
	defer cancel()
	start := time.Now()
	if _, err := c.Write(ctx, io.Discard, cartesian.JSON, -1, cartesian.Options{}); !errors.Is(err, cause) {
		t.Errorf("error %v, want %v", err, cause)
	}
	if took := time.Since(start); took > time.Minute {
		t.Errorf("ended %v after it began", took)
	}
	var after runtime.MemStats
	runtime.ReadMemStats(&after)
	if after.HeapAlloc > 200<<20 {
		t.Errorf("the heap has %d MiB", after.HeapAlloc>>20)
	}
}

// TestDeepConfig has many sets of several variants each on the way to a variant.
func TestDeepConfig(t *testing.T) {
	c := parseText(t, product(1000, 3))
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	if n, err := c.Write(t.Context(), io.Discard, cartesian.JSON, 3, cartesian.Options{}); n != 3 || err != nil {
		t.Errorf("got %d lines, %v", n, err)
	}
	runtime.ReadMemStats(&after)
	if grown := (after.TotalAlloc - before.TotalAlloc) >> 20; grown > 100 {
		t.Errorf("three lines have taken %d MiB", grown)
	}
}
