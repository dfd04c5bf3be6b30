// SPDX-License-Identifier: Apache-2.0

package check

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mhmig/mhmig/runtime/host"
)

// fixChecks are the checks whose faults Fix can remove.
var fixChecks = []hostCheck{
	{sshCheck, connect},
	{"programs", programsInstalled},
	{"folder", imageFolder},
}

// fixTimeout limits the fix of one fault: packages are downloaded.
const fixTimeout = 10 * time.Minute

// Fix installs missing programs by apt-get, and makes a missing images_base_dir, on all
// hosts at the same time: as root, or by sudo if that asks for no password. Without install
// it changes nothing. The results are those of the checks, after the changes if there are
// any. What it installs stays.
func Fix(ctx context.Context, o Options, install bool) (report Report, err error) {
	c, err := newChecker(o)
	if err != nil {
		return Report{}, err
	}
	defer func() { err = errors.Join(err, c.close(ctx)) }()
	report = c.newReport()
	do := checkHost
	if install {
		do = fixHost
	}
	report.Checks = c.eachHost(ctx, fixChecks, do)
	if ctx.Err() != nil {
		return Report{}, context.Cause(ctx)
	}
	return report, nil
}

// fixHost does a check, and if it finds a fault that can be removed, removes it and does
// the check again.
func fixHost(ctx context.Context, check hostCheck, m *machine) finding {
	f := checkHost(ctx, check, m)
	if f.fixScript == "" {
		return f
	}
	m.c.Log.Info("fixing", "host", m.name(), "found", f.found)
	if _, err := m.h.Run(ctx, host.Command{Script: f.fixScript, Timeout: fixTimeout}); err != nil {
		return fail(fmt.Sprintf("%s; it was not fixed: %v", f.found, err), f.fix)
	}
	return checkHost(ctx, check, m)
}
