// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"
)

// LoginHere is Login with this process's standard streams. A shell gets the user's
// terminal, if standard input is one: it is in raw mode meanwhile.
func (s *State) LoginHere(ctx context.Context, hostName, command string) (status int, err error) {
	l := Login{Command: command, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	tty := int(os.Stdin.Fd())
	if command != "" || !term.IsTerminal(tty) {
		return s.Login(ctx, hostName, l)
	}
	columns, rows, err := term.GetSize(tty)
	if err != nil {
		return 0, fmt.Errorf("get the terminal's size: %w", err)
	}
	before, err := term.MakeRaw(tty)
	if err != nil {
		return 0, fmt.Errorf("set the terminal to raw mode: %w", err)
	}
	defer func() { _ = term.Restore(tty, before) }()
	resized, stop := watchSize(tty)
	defer stop()
	l.Terminal = &Terminal{Type: os.Getenv("TERM"), Size: Size{Columns: columns, Rows: rows}, Resized: resized}
	return s.Login(ctx, hostName, l)
}

// watchSize reports each new size of a terminal until stop.
func watchSize(tty int) (sizes <-chan Size, stop func()) {
	resized := make(chan Size)
	signals, ended := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(signals, syscall.SIGWINCH)
	go func() {
		for {
			select {
			case <-signals:
			case <-ended:
				return
			}
			columns, rows, err := term.GetSize(tty)
			if err != nil {
				continue
			}
			select {
			case resized <- Size{Columns: columns, Rows: rows}:
			case <-ended:
				return
			}
		}
	}()
	return resized, func() {
		signal.Stop(signals)
		close(ended)
	}
}
