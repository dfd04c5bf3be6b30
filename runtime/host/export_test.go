// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"time"
)

// WatchKeepalive runs a keepalive.
func WatchKeepalive(ctx context.Context, interval time.Duration, count int, heard func() time.Time, ask func()) error {
	return keepalive{interval, count, heard, ask}.watch(ctx)
}

// For the tests.
var (
	Bootstrap  = bootstrap
	Encode     = encode
	LocalPorts = localPorts
)
