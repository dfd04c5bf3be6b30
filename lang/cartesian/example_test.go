// SPDX-License-Identifier: Apache-2.0

package cartesian_test

import (
	"context"
	"fmt"
	"os"
	"strings"
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

// twoGuests is a config with a few variants.
var twoGuests = fstest.MapFS{"guests.cfg": {Data: []byte(`mem = 512
variants:
    - RHEL:
        mem = 1024
        variants:
            - 6.4:
            - 7.9:
    - JeOS:
        no exec
variants protocol:
    - tcp:
    - exec:
tcp: mem += M
`)}}

func ExampleConfig_Explain() {
	c, err := cartesian.ParseFS(twoGuests, "guests.cfg")
	if err != nil {
		fmt.Println(err)
		return
	}
	e, err := c.Explain(context.Background(), "RHEL.7.9..tcp", cartesian.Options{})
	if err != nil {
		fmt.Println(err) // several variants match, or none
		return
	}
	fmt.Println(e.Name)
	mem, _ := e.Param("mem")
	for _, step := range mem.Steps {
		fmt.Printf("%v: %s makes it %s\n", step.Location, step.Text, *step.After)
		for _, condition := range step.Conditions {
			fmt.Printf("\tbecause of %v: %s\n", condition, condition.Text)
		}
	}
	// Output:
	// (protocol=tcp).RHEL.7.9
	// guests.cfg:1: mem = 512 makes it 512
	// guests.cfg:4: mem = 1024 makes it 1024
	// guests.cfg:13: mem += M makes it 1024M
	// 	because of guests.cfg:13: tcp:
}

func ExampleConfig_WhyNot() {
	c, err := cartesian.ParseFS(twoGuests, "guests.cfg", "only RHEL")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, filter := range []string{"RHEL..tcp", "JeOS..exec", "RHEL.6.5"} {
		a, err := c.WhyNot(context.Background(), filter, cartesian.Options{})
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%s: %d variants\n", filter, a.Count)
		for _, drop := range a.Drops {
			for _, statement := range drop.Statements {
				fmt.Printf("\t%v: %s\n", statement.Location, statement.Text)
			}
		}
		for _, reason := range a.Impossible {
			fmt.Printf("\t%s; %s\n", reason.Message, reason.Hint)
		}
	}
	// Output:
	// RHEL..tcp: 2 variants
	// JeOS..exec: 0 variants
	// 	<string>:1: only RHEL
	// 	guests.cfg:9: no exec
	// RHEL.6.5: 0 variants
	// 	no variant has the label "5"; after "RHEL.6" there are 4
}

func ExampleDiff() {
	older, err := cartesian.ParseFS(twoGuests, "guests.cfg", "only exec")
	if err != nil {
		fmt.Println(err)
		return
	}
	newer, err := cartesian.ParseFS(twoGuests, "guests.cfg", "no 6.4", "mem = 2048")
	if err != nil {
		fmt.Println(err)
		return
	}
	d := &cartesian.Diff{Old: older, New: newer}
	for difference, err := range d.All(context.Background()) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(difference.Kind, difference.Name)
		for _, p := range difference.Params {
			fmt.Printf("\t%s: %s -> %s\n", p.Key, *p.Old, *p.New)
		}
	}
	fmt.Println(d.Unchanged(), "alike")
	// Unordered output:
	// added (protocol=tcp).RHEL.7.9
	// added (protocol=tcp).JeOS
	// removed (protocol=exec).RHEL.6.4
	// changed (protocol=exec).RHEL.7.9
	// 	mem: 1024 -> 2048
	// 0 alike
}

func ExampleConfig_Write() {
	files := fstest.MapFS{"guests.cfg": {Data: []byte("mem = 512\nvariants:\n  - @small:\n  - big:\n    mem = 2048\n")}}
	c, err := cartesian.ParseFS(files, "guests.cfg")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, format := range []cartesian.Format{cartesian.Names, cartesian.JSON} {
		if _, err := c.Write(context.Background(), os.Stdout, format, -1, cartesian.Options{}); err != nil {
			fmt.Println(err)
		}
	}
	// Output:
	// small
	// big
	// {"_name_map_file":{"guests.cfg":"small"},"_short_name_map_file":{"guests.cfg":"small"},"dep":[],"mem":"512","name":"small","shortname":""}
	// {"_name_map_file":{"guests.cfg":"big"},"_short_name_map_file":{"guests.cfg":"big"},"dep":[],"mem":"2048","name":"big","shortname":"big"}
}

func ExampleConfig_Count() {
	// Forty sets of ten variants each.
	text := strings.Repeat("variants:\n  - 0:\n  - 1:\n  - 2:\n  - 3:\n  - 4:\n  - 5:\n  - 6:\n  - 7:\n  - 8:\n  - 9:\n", 40)
	c, err := cartesian.ParseFS(fstest.MapFS{"guests.cfg": {Data: []byte(text)}}, "guests.cfg", "no 7.7")
	if err != nil {
		fmt.Println(err)
		return
	}
	n, err := c.Count(context.Background(), cartesian.Options{})
	fmt.Println(n, err)
	// Output:
	// 6977153870077065106622295302127207456840 <nil>
}

func ExampleConfig_WriteTree() {
	files := fstest.MapFS{"guests.cfg": {Data: []byte(
		"variants:\n  - tcp:\n  - exec:\nvariants:\n  - RHEL.6:\n  - RHEL.7:\n  - Windows:\n    no exec\n")}}
	c, err := cartesian.ParseFS(files, "guests.cfg")
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := c.WriteTree(context.Background(), os.Stdout, -1, cartesian.Options{}); err != nil {
		fmt.Println(err)
	}
	// Output:
	// RHEL.6 (2)
	//   tcp
	//   exec
	// RHEL.7 (2, as in RHEL.6)
	// Windows.tcp
}

func ExampleParams_Object() {
	p := cartesian.Params{"mem": "512", "mem_vm1": "1024", "mem_vm1_host2": "2048", "image_size": "1G", "image_size_stg_vm1": "10G"}
	onHost := p.Object("host2")
	vm1 := onHost.Object("vm1")
	fmt.Println(onHost.Object("vm2")["mem"], p.Object("vm1")["mem"], vm1["mem"], vm1.Object("stg")["image_size"])
	// Output:
	// 512 1024 2048 10G
}
