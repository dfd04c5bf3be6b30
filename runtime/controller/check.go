// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/check"
	"github.com/mhmig/mhmig/runtime/exit"
	"github.com/mhmig/mhmig/runtime/hostsfile"
	"github.com/mhmig/mhmig/runtime/ledger"
)

// Check checks whether the hosts of a request, or those of a lab, have what its variants
// need. Of the request it uses the config and the hosts; no scenario is loaded. What it
// makes on hosts is recorded in a folder of Results, for mhmig cleanup; the folder goes
// with the last of it.
func Check(ctx context.Context, q Request, s Sinks, log *slog.Logger) (check.Report, error) {
	return q.onHosts(ctx, s, log, check.Run)
}

// Fix does what it can so that Check finds less: see [check.Fix].
func Fix(ctx context.Context, q Request, s Sinks, log *slog.Logger, install bool) (check.Report, error) {
	return q.onHosts(ctx, s, log, func(ctx context.Context, o check.Options) (check.Report, error) {
		return check.Fix(ctx, o, install)
	})
}

// onHosts calls do with the request's variants and hosts.
func (q *Request) onHosts(ctx context.Context, s Sinks, log *slog.Logger, do func(context.Context, check.Options) (check.Report, error)) (report check.Report, err error) {
	p := &Plan{request: q}
	if err := p.readConfig(s); err != nil {
		return check.Report{}, err
	}
	if err := p.checkCount(ctx, s); err != nil {
		return check.Report{}, err
	}
	o := check.Options{
		Variants: p.config.Variants(ctx, q.Options), Name: checkName(), Log: log,
		Image: func(ctx context.Context, guest string) error { _, err := findGuest(ctx, guest); return err },
	}
	var record hostsfile.Record
	if len(q.Hosts) > 0 {
		first, err := firstParams(o.Variants)
		if err != nil {
			return check.Report{}, err
		}
		if o.Hosts, err = q.resolveHosts(ctx, first); err != nil {
			return check.Report{}, err
		}
	} else {
		used, openErr := q.Lab.open(ctx, "mhmig check", log)
		if openErr != nil {
			return check.Report{}, openErr
		}
		defer func() { err = errors.Join(err, used.close()) }()
		o.Hosts, o.Params = used.state.Configs(), q.unsetParams(used.params())
		record.Lab = hostsfile.NewLab(used.state)
		record.Lab.Own = used.own
	}
	record.Hosts = o.Hosts
	made, err := makeCheckFolder(q.Results, o.Name, record)
	if err != nil {
		return check.Report{}, exit.Usage.Wrap(err)
	}
	o.Ledger = made.ledger
	defer s.busy("checking the hosts")()
	report, err = do(ctx, o)
	return report, errors.Join(exit.Hosts.Default(err), made.close())
}

// firstParams are the params of the first variant.
func firstParams(variants func(yield func(*cartesian.Variant, error) bool)) (cartesian.Params, error) {
	for v, err := range variants {
		if err != nil {
			return nil, exit.Usage.Wrap(err)
		}
		return v.Params, nil
	}
	return cartesian.Params{}, nil
}

// checkName is a new name for what a check makes.
func checkName() string {
	var id [3]byte
	_, _ = rand.Read(id[:]) // never fails
	return "mhmig-check-" + hex.EncodeToString(id[:])
}

// checkFolder is the folder of a check, with its ledger.
type checkFolder struct {
	dir         string
	results     string
	madeResults bool
	ledger      *ledger.Ledger
}

func makeCheckFolder(results, name string, record hostsfile.Record) (*checkFolder, error) {
	f := &checkFolder{dir: filepath.Join(results, name), results: results}
	_, err := os.Stat(results)
	f.madeResults = errors.Is(err, fs.ErrNotExist)
	if err := os.MkdirAll(f.dir, 0o755); err != nil {
		return nil, err
	}
	if err := record.Save(f.dir); err != nil {
		return nil, err
	}
	f.ledger, err = ledger.Open(filepath.Join(f.dir, hostsfile.LedgerFile))
	return f, err
}

// close removes the folder, unless something is left on a host.
func (f *checkFolder) close() error {
	left := len(f.ledger.Pending())
	err := f.ledger.Close()
	if left > 0 {
		return errors.Join(err, fmt.Errorf("%d items are left on the hosts: mhmig cleanup %s", left, f.dir))
	}
	err = errors.Join(err, os.RemoveAll(f.dir))
	if f.madeResults {
		_ = os.Remove(f.results) // fails if a run has begun there meanwhile
	}
	return err
}
