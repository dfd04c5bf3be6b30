// SPDX-License-Identifier: Apache-2.0

package api_test

import (
	"fmt"

	"github.com/mhmig/mhmig/lang/api"
)

// What an editor shows of a function, without running anything.
func ExampleFunctions() {
	for _, f := range api.Functions() {
		if f.Name != "barrier" {
			continue
		}
		fmt.Println(f.Signature())
		for _, p := range f.Params {
			fmt.Printf("  %s: %s\n", p.Name, p.Type)
		}
		fmt.Println("returns", f.Returns.Type)
	}
	// Output:
	// barrier(tag, hosts=<both sides or all hosts of on>, timeout=240)
	//   tag: string
	//   hosts: list[host | string]
	//   timeout: int | float | string
	// returns None
}
