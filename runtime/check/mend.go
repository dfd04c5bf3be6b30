// SPDX-License-Identifier: Apache-2.0

package check

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mhmig/mhmig/runtime/host"
)

// mendable are the checks whose faults Mend can remove.
var mendable = []hostCheck{
	{sshCheck, connect},
	{"programs", programsInstalled},
	{"folder", imageFolder},
}

// mendTimeout limits the mending of one fault: packages are downloaded.
const mendTimeout = 10 * time.Minute

// Mend installs missing programs by apt-get, and makes a missing images_base_dir, on all
// hosts at the same time: as root, or by sudo if that asks for no password. Without install
// it changes nothing. The results are those of the checks, after the changes if there are
// any. What it installs stays.
func Mend(ctx context.Context, o Options, install bool) (report Report, err error) {
	c, err := newChecker(o)
	if err != nil {
		return Report{}, err
	}
	defer func() { err = errors.Join(err, c.close(ctx)) }()
	report = c.newReport()
	do := checkHost
	if install {
		do = mendHost
	}
	report.Checks = c.eachHost(ctx, mendable, do)
	if ctx.Err() != nil {
		return Report{}, context.Cause(ctx)
	}
	return report, nil
}

// mendHost does a check, and if it finds a fault that can be removed, removes it and does
// the check again.
func mendHost(ctx context.Context, check hostCheck, m *machine) finding {
	f := checkHost(ctx, check, m)
	if f.mend == "" {
		return f
	}
	m.c.Log.Info("mending", "host", m.name(), "found", f.found)
	if _, err := m.h.Run(ctx, host.Command{Script: f.mend, Timeout: mendTimeout}); err != nil {
		return fail(fmt.Sprintf("%s; it was not mended: %v", f.found, err), f.fix)
	}
	return checkHost(ctx, check, m)
}
