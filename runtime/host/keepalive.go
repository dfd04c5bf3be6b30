// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"time"
)

// errSilent is why a connection is lost on which nothing arrives.
var errSilent = errors.New("no answer to keepalives")

// keepalive detects a lost host: count keepalive messages in a row were not
// answered, and nothing else arrived, for count intervals since the last data. The
// messages are spread over that time so that each has equally long to be answered.
//
// Time in which this process did not run, because it was stopped or its machine
// was suspended, does not count: answers may be unread. When the timer fires late,
// counting starts over.
type keepalive struct {
	interval time.Duration
	count    int
	lastRead func() time.Time // when data last arrived
	send     func()           // sends a keepalive message; must not block
}

// watch blocks until the host is lost, and returns errSilent, or until ctx ends,
// and returns nil.
func (k keepalive) watch(ctx context.Context) error {
	wait := k.interval * time.Duration(k.count) / time.Duration(k.count+1) // for one message
	unanswered := 0
	since := time.Now() // of the last message or data
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		now, lastRead := time.Now(), k.lastRead()
		late := now.Sub(since) > wait*3/2
		switch {
		case lastRead.After(since):
			unanswered, since = 0, lastRead
		case unanswered == k.count && !late:
			return errSilent
		case late:
			unanswered = 0
			fallthrough
		default:
			unanswered, since = unanswered+1, now
			k.send()
		}
		timer.Reset(time.Until(since.Add(wait)))
	}
}
