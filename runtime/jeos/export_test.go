// SPDX-License-Identifier: Apache-2.0

package jeos

// WithProgram is the options of an mhmig that has another program for the guest.
func (o Options) WithProgram(content string) Options {
	o.program = []byte(content)
	return o
}
