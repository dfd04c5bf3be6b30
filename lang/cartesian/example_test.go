// SPDX-License-Identifier: Apache-2.0

package cartesian_test

import (
	"context"
	"fmt"
	"testing/fstest"

	"github.com/mhmig/mhmig/lang/cartesian"
)

func Example() {
	files := fstest.MapFS{"guests.cfg": {Data: []byte(`
mem = 512
variants:
    - RHEL:
        variants:
            - 6.4:
            - 7.9:
                mem = 1024
    - JeOS:
variants protocol:
    - tcp:
    - exec:
        only JeOS
`)}}
	c, err := cartesian.ParseFS(files, "guests.cfg", "only RHEL..tcp, exec", "mem_vm2 = 256")
	if err != nil {
		fmt.Println(err)
		return
	}
	for v, err := range c.Variants(context.Background(), cartesian.Options{}) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(v.Name, v.ShortName, v.Params["mem"], v.Params.Object("vm2")["mem"], v.Params["protocol"])
	}
	// Output:
	// (protocol=tcp).RHEL.6.4 tcp.RHEL.6.4 512 256 tcp
	// (protocol=tcp).RHEL.7.9 tcp.RHEL.7.9 1024 256 tcp
	// (protocol=exec).JeOS exec.JeOS 512 256 exec
}
