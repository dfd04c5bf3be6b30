// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"context"
	"fmt"
	"net"
	"strconv"

	"github.com/mhmig/mhmig/runtime/result"
)

// address is where a QEMU listens for a guest, or sends it to.
type address struct {
	uri string
	// channel is the same in QEMU's schema (MigrationAddress).
	channel map[string]any
	// handover is the socket of a second channel, cpr, for file descriptors; "": none. The
	// two can be told as channels only.
	handover string
}

func tcpAddress(host string, port int) address {
	number := strconv.Itoa(port)
	return address{
		uri:     "tcp:" + net.JoinHostPort(host, number),
		channel: map[string]any{"transport": "socket", "type": "inet", "host": host, "port": number},
	}
}

func unixAddress(path string) address {
	return address{uri: "unix:" + path, channel: map[string]any{"transport": "socket", "type": "unix", "path": path}}
}

func execAddress(command string) address {
	return address{uri: "exec:" + command, channel: map[string]any{"transport": "exec", "args": []string{"/bin/sh", "-c", command}}}
}

func fileAddress(path string, offset int64) address {
	a := address{uri: "file:" + path, channel: map[string]any{"transport": "file", "filename": path, "offset": offset}}
	if offset > 0 {
		a.uri += fmt.Sprintf(",offset=%#x", offset)
	}
	return a
}

func rdmaAddress(host string, port int) address {
	number := strconv.Itoa(port)
	return address{
		uri:     "rdma:" + net.JoinHostPort(host, number),
		channel: map[string]any{"transport": "rdma", "host": host, "port": number},
	}
}

// form is how QEMU is told addresses: as URIs, or as channels (mig_channels); and whether
// a destination stays when it cannot load the guest (mig_exit_on_error = no).
type form struct{ channels, stays bool }

func (o options) form() form { return form{o.asChannels, !o.exitOnError} }

// arguments are those of the commands migrate and migrate-incoming.
func (f form) arguments(ctx context.Context, peer Peer, command string, a address) (map[string]any, error) {
	if !f.channels && a.handover == "" {
		return map[string]any{"uri": a.uri}, nil
	}
	if a.handover == "" { // a QEMU with that channel has the argument
		supported, err := peer.Supports(ctx, command+"/channels")
		if err != nil {
			return nil, err
		}
		if !supported {
			return nil, result.Skip.Errorf("%s: %s of this QEMU has no argument channels, which mig_channels needs: QEMU 8.2 or later has it", peer, command)
		}
	}
	channels := []map[string]any{{"channel-type": "main", "addr": a.channel}}
	if a.handover != "" {
		channels = append(channels, map[string]any{"channel-type": "cpr", "addr": unixAddress(a.handover).channel})
	}
	return map[string]any{"channels": channels}, nil
}

// incoming makes a destination that was started with -incoming defer listen on an
// address, or load from it.
func (f form) incoming(ctx context.Context, destination Peer, a address) error {
	arguments, err := f.arguments(ctx, destination, "migrate-incoming", a)
	if err != nil {
		return err
	}
	if f.stays {
		supported, err := destination.Supports(ctx, "migrate-incoming/exit-on-error")
		if err != nil {
			return err
		}
		if !supported {
			return result.Skip.Errorf("%s: migrate-incoming of this QEMU has no argument exit-on-error, which mig_exit_on_error = no needs: QEMU 9.1 or later has it", destination)
		}
		arguments["exit-on-error"] = false
	}
	destination.Log().Info("migrate-incoming", "uri", a.uri)
	return destination.Execute(ctx, "migrate-incoming", arguments, nil)
}

// migrate makes a source send to an address.
func (f form) migrate(ctx context.Context, source Peer, a address) error {
	arguments, err := f.arguments(ctx, source, "migrate", a)
	if err != nil {
		return err
	}
	source.Log().Info("migrate", "uri", a.uri)
	return source.Execute(ctx, "migrate", arguments, nil)
}
