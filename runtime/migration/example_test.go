// SPDX-License-Identifier: Apache-2.0

package migration_test

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/mhmig/mhmig/runtime/migration"
	"github.com/mhmig/mhmig/runtime/qmp/qmptest"
	"github.com/mhmig/mhmig/runtime/testbed/bedtest"
)

// One VM is migrated. Both sides run at the same time: an error on one ends the
// other. The hosts are a lab's, with scripted QEMUs.
func Example() {
	ctx := context.Background()
	example := bedtest.NewExample("migration")
	defer example.End()
	lab := bedtest.NewLab(example, 2)
	params := bedtest.Scripted(example, qmptest.Script{}, qmptest.Script{})
	bed := bedtest.New(example, lab.Connected, lab.Params(), params, nil)
	if err := bed.Prepare(ctx); err != nil {
		fmt.Println(err)
		return
	}

	work := func(_ context.Context, s *migration.Side) error {
		fmt.Println(s.Role, s.Host.Name(), "in step", s.Step())
		return nil
	}
	m, err := migration.New(bed.Bed, 1, migration.Plan{
		VMs:         []string{"vm1"},
		Source:      bed.Hosts()[0],
		Destination: bed.Hosts()[1],
		Params:      bed.Params(),
		StartWork:   work,
		CheckWork:   work,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	sides, ctx := errgroup.WithContext(ctx)
	sides.Go(func() error { return m.Source.Run(ctx) })
	sides.Go(func() error { return m.Destination.Run(ctx) })
	if err := sides.Wait(); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(m.State(), "on", bed.Current("vm1").Host.Name())
	// Output:
	// source host1 in step start_work
	// destination host2 in step check_work
	// completed on host2
}
