// SPDX-License-Identifier: Apache-2.0

package barrier_test

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/mhmig/mhmig/runtime/barrier"
)

// The destination of a migration tells the source its port: whoever is first waits.
func ExampleGroup_Sync() {
	ctx := context.Background()
	group := barrier.New("host1", "host2")
	var sides sync.WaitGroup
	sides.Go(func() {
		if _, err := group.Sync(ctx, "host2", "ports", 5200, nil); err != nil {
			fmt.Println(err)
		}
	})
	brought, err := group.Sync(ctx, "host1", "ports", nil, nil)
	sides.Wait()
	fmt.Println(brought["host2"], err)
	// Output:
	// 5200 <nil>
}

// A party that has left ends the wait of the others at once.
func ExampleGroup_Leave() {
	group := barrier.New("host1", "host2")
	group.Leave("host2", "QEMU has ended")
	_, err := group.Sync(context.Background(), "host1", "mig_finished", nil, nil)
	if failed, ok := errors.AsType[*barrier.Error](err); ok {
		fmt.Println("missing:", failed.Missing[0].Party)
	}
	fmt.Println(err)
	// Output:
	// missing: host2
	// barrier mig_finished: cannot complete any more; missing: host2 (ended: QEMU has ended)
}
