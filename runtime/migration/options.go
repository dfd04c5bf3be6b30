// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/mhmig/mhmig/lang/cartesian"
)

// options are the params that a migration obeys, by virt-test's names and with
// the defaults of its config; finish_timeout and login_timeout are per barrier
// and login, however many VMs take part.
type options struct {
	port          portRange     // mig_port: where the destination listens; empty: any free port
	timeout       time.Duration // mig_timeout: from migrate to its end
	loginTimeout  time.Duration // login_timeout
	finishTimeout time.Duration // finish_timeout: for the barriers behind the migration
	startTimeout  time.Duration // start_migration_timeout: migrate so long after the start, without a login
	offline       bool          // mig_offline: stop the guest first
	cancelDelay   time.Duration // cancel_delay: cancel so long after the start; 0: don't
	speed         int64         // mig_speed, bytes per second; 0: QEMU's default
	downtime      time.Duration // mig_downtime; 0: QEMU's default
	login         bool          // not not_login_after_mig
}

func parseOptions(p cartesian.Params) (options, error) {
	var o options
	if protocol := p.Get("mig_protocol", "tcp"); protocol != "tcp" {
		return o, fmt.Errorf("param mig_protocol: got %q, want tcp; no other is supported yet", protocol)
	}
	var err error
	seconds := func(key string, def time.Duration) (d time.Duration) {
		if err == nil {
			d, err = p.Seconds(key, def)
		}
		return d
	}
	boolean := func(key string) (b bool) {
		if err == nil {
			b, err = p.Bool(key, false)
		}
		return b
	}
	o.timeout = seconds("mig_timeout", 480*time.Second)
	o.loginTimeout = seconds("login_timeout", 360*time.Second)
	o.finishTimeout = seconds("finish_timeout", 120*time.Second)
	o.startTimeout = seconds("start_migration_timeout", 0)
	o.cancelDelay = seconds("cancel_delay", 0)
	o.downtime = seconds("mig_downtime", 0)
	o.offline = boolean("mig_offline")
	o.login = !boolean("not_login_after_mig")
	if err == nil {
		o.speed, err = p.Size("mig_speed", 0, 1)
	}
	if err == nil {
		o.port, err = parsePortRange(p.Get("mig_port", ""))
	}
	return o, err
}

// portRange is a set of consecutive TCP ports; the zero value means any port,
// chosen by QEMU itself.
type portRange struct{ first, last int }

func (r portRange) any() bool { return r.first == 0 }

// parsePortRange reads mig_port: "" or "0" (any), "5200", "5200-5899".
func parsePortRange(text string) (portRange, error) {
	if text == "" || text == "0" {
		return portRange{}, nil
	}
	low, high, isRange := strings.Cut(text, "-")
	if !isRange {
		high = low
	}
	first, err1 := strconv.ParseUint(strings.TrimSpace(low), 10, 16)
	last, err2 := strconv.ParseUint(strings.TrimSpace(high), 10, 16)
	if err1 != nil || err2 != nil || first == 0 || first > last {
		return portRange{}, fmt.Errorf("mig_port = %s: want a TCP port, a range such as 5200-5899, or 0 for any", text)
	}
	return portRange{first: int(first), last: int(last)}, nil
}
