// SPDX-License-Identifier: Apache-2.0

// Package workload
package workload

import "io"

func Commands() []string                                            { return []string{"memwork", "diskwork"} }
func Main(name string, args []string, stdout, stderr io.Writer) int { return 1 }
