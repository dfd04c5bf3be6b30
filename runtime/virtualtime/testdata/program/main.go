// SPDX-License-Identifier: Apache-2.0

// Command program prints how long it has slept in virtual time.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/mhmig/mhmig/runtime/virtualtime"
)

func main() {
	var passed time.Duration
	err := virtualtime.Run(context.Background(), time.Minute, func() {
		began := time.Now()
		time.Sleep(time.Hour)
		passed = time.Since(began)
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(passed)
}
