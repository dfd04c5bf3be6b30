// SPDX-License-Identifier: Apache-2.0

package host_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/lab"
)

// Commands and files on a host. It is one of a lab here; for others [host.Resolve]
// makes the Config of what ssh_config and params say.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "mhmig-example-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	made, err := lab.Start(ctx, lab.Options{Hosts: 1, Dir: filepath.Join(dir, "lab")})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer made.Close()

	h, err := host.Dial(ctx, made.Hosts()[0], slog.New(slog.DiscardHandler))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer h.Close()

	file := filepath.Join(dir, "greeting")
	if err := h.WriteFile(ctx, file, []byte("hello\n"), 0o644); err != nil {
		fmt.Println(err)
		return
	}
	out, err := h.Run(ctx, host.Command{Args: []string{"cat", file}, Timeout: 10 * time.Second})
	fmt.Printf("%s: %q %v\n", h.Name(), out.Stdout, err)

	_, err = h.Run(ctx, host.Command{Script: "echo too full >&2; exit 3"})
	if exit, ok := errors.AsType[*host.ExitError](err); ok {
		fmt.Println("status:", exit.Output.Status)
	}
	// Output:
	// host1: "hello\n" <nil>
	// status: 3
}
