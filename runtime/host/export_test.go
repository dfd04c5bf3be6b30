// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"log/slog"
	"net"
	"time"

	"golang.org/x/crypto/ssh"
)

// WatchKeepalive runs a keepalive.
func WatchKeepalive(ctx context.Context, interval time.Duration, count int, lastRead func() time.Time, send func()) error {
	return keepalive{interval, count, lastRead, send}.watch(ctx)
}

// CheckHostKey judges a key that the host of c shows at an address.
func CheckHostKey(c Config, remote net.Addr, key ssh.PublicKey) error {
	check, err := newHostKeyCheck(c, slog.New(slog.DiscardHandler), func() {})
	if err != nil {
		return err
	}
	return check.verify("", remote, key)
}

// For the tests.
var (
	Bootstrap  = bootstrap
	Encode     = encode
	LocalPorts = localPorts
)

// TimeWait is the state of an ended connection.
const TimeWait = timeWait
