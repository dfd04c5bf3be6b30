// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"fmt"
	"strconv"
	"time"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/lang/cartesian"
)

// options are the params that a migration obeys, by virt-test's names and with
// the defaults of its config; finish_timeout and login_timeout are per barrier
// and login, however many VMs take part.
type options struct {
	protocol      string        // mig_protocol: a transport
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
	v := api.Read(p)
	o := options{
		protocol: v.Choice("mig_protocol"),
		timeout:  v.Seconds("mig_timeout"), loginTimeout: v.Seconds("login_timeout"), finishTimeout: v.Seconds("finish_timeout"),
		startTimeout: v.Seconds("start_migration_timeout"), cancelDelay: v.Seconds("cancel_delay"),
		offline: v.Bool("mig_offline"), speed: v.Size("mig_speed"), downtime: v.Seconds("mig_downtime"),
		login: !v.Bool("not_login_after_mig"),
	}
	o.port.first, o.port.last = v.Ports("mig_port")
	return o, v.Err()
}

// portRange is a set of consecutive TCP ports; the zero value means any port,
// chosen by QEMU itself.
type portRange struct{ first, last int }

func (r portRange) any() bool { return r.first == 0 }

func (r portRange) String() string {
	if r.first == r.last {
		return strconv.Itoa(r.first)
	}
	return fmt.Sprintf("%d-%d", r.first, r.last)
}
