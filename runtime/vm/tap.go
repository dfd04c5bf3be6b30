// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"al.essio.dev/pkg/shellescape"

	"github.com/mhmig/mhmig/runtime/host"
	"github.com/mhmig/mhmig/runtime/ledger"
)

// addedTap is a tap device on the host and its entry in the ledger.
type addedTap struct {
	Tap
	entry int
}

// addTap creates a tap device on its bridge.
func (i *Instance) addTap(ctx context.Context, t Tap) error {
	h := i.placement.Host
	entry, err := i.placement.Ledger.Record(ledger.Entry{Host: h.Name(), Kind: ledger.Netdev, Path: t.Name})
	if err != nil {
		return err
	}
	i.taps = append(i.taps, addedTap{t, entry})
	_, err = h.Run(ctx, host.Command{
		Script: fmt.Sprintf("ip tuntap add dev %[1]s mode tap && ip link set dev %[1]s master %[2]s up",
			shellescape.Quote(t.Name), shellescape.Quote(t.Bridge)),
		Timeout: queryTimeout,
	})
	if exit, ok := errors.AsType[*host.ExitError](err); ok {
		return fmt.Errorf("tap on bridge %s (param netdst): %s; nic_mode = tap needs root and this bridge on %s",
			t.Bridge, lastLines(string(exit.Output.Stderr), 2), h.Name())
	}
	return err
}

func (i *Instance) removeTaps(ctx context.Context) error { return i.removeTapsFrom(ctx, 0) }

// removeTap removes the tap device of that name.
func (i *Instance) removeTap(ctx context.Context, name string) error {
	at := slices.IndexFunc(i.taps, func(t addedTap) bool { return t.Name == name })
	if at < 0 {
		return nil
	}
	last := len(i.taps) - 1
	i.taps[at], i.taps[last] = i.taps[last], i.taps[at]
	return i.removeTapsFrom(ctx, last)
}

// removeTapsFrom removes all but the first taps.
func (i *Instance) removeTapsFrom(ctx context.Context, first int) error {
	for len(i.taps) > first {
		t := i.taps[len(i.taps)-1]
		if _, err := i.placement.Host.Run(ctx, host.Command{
			Script:  fmt.Sprintf("! ip link show dev %[1]s >/dev/null 2>&1 || ip link delete dev %[1]s", shellescape.Quote(t.Name)),
			Timeout: queryTimeout,
		}); err != nil {
			return err
		}
		if err := i.placement.Ledger.Done(t.entry); err != nil {
			return err
		}
		i.taps = i.taps[:len(i.taps)-1]
	}
	return nil
}

// guestAddress is the address by which the host reaches a guest with a tap: the param
// nic_ip, or the host's neighbour entry of the NIC's MAC.
func (i *Instance) guestAddress(ctx context.Context, t Tap) (string, error) {
	if t.Address != "" {
		return t.Address, nil
	}
	out, err := i.placement.Host.Run(ctx, host.Command{Args: []string{"ip", "-4", "neighbour", "show", "dev", t.Bridge}, Timeout: queryTimeout})
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(out.Stdout)) {
		if fields := strings.Fields(line); len(fields) > 0 && strings.Contains(line, t.MAC) {
			return fields[0], nil
		}
	}
	return "", fmt.Errorf("%s has no neighbour entry of the guest (MAC %s on %s): set param nic_ip", i.placement.Host.Name(), t.MAC, t.Bridge)
}
