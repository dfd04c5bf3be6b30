// SPDX-License-Identifier: Apache-2.0

package terminal

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/term"
)

// Confirm asks the user a question, written to w, and waits for the answer: true is yes.
// Without a terminal, nobody is asked, and it returns false.
func Confirm(w io.Writer, question string) bool {
	if !term.IsTerminal(int(os.Stdin.Fd())) || !term.IsTerminal(int(os.Stderr.Fd())) {
		return false
	}
	fmt.Fprintf(w, "%s [y/N] ", question)
	var answer string
	_, _ = fmt.Fscanln(os.Stdin, &answer) // no answer is a no
	return answer == "y" || answer == "yes"
}
