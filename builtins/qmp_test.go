// SPDX-License-Identifier: Apache-2.0

package builtins_test

import (
	"encoding/json"
	"testing"

	"github.com/mhmig/mhmig/runtime/qmp/qmptest"
	"github.com/mhmig/mhmig/runtime/result"
)

// The _ in the name of a QMP command's argument stands for a -, unless QEMU's schema has the
// name with it; what is in a dict is as it is.
func TestArgumentNames(t *testing.T) {
	t.Parallel()
	schema := json.RawMessage(`[
		{"name": "block_set_io_throttle", "meta-type": "command", "arg-type": "1"},
		{"name": "1", "meta-type": "object", "members": [{"name": "bps_rd", "type": "int"}, {"name": "iops-size", "type": "int"}]},
		{"name": "int", "meta-type": "builtin"}]`)
	script := func(schema json.RawMessage) qmptest.Script {
		return qmptest.Script{Execute: func(command string, arguments json.RawMessage) (any, error, bool) {
			switch {
			case command == "query-qmp-schema" && schema != nil:
				return schema, nil, true
			case command == "query-qmp-schema":
				return nil, &qmptest.CommandError{Class: "CommandNotFound", Desc: "no schema"}, true
			case command == "block_set_io_throttle" || command == "other":
				return arguments, nil, true
			}
			return nil, nil, false
		}}
	}
	const start = "\n\tvm.start()\n\tgot = "
	const check = `
	if got != want:
		fail("got %s, want %s" % (got, want))`
	runScripted(t, []scriptedCase{
		{name: "of the schema", source: script(schema), text: start + `vm.qmp("block_set_io_throttle", bps_rd=1, iops_size={"a_b": 2}, of_none=3)
	want = {"bps_rd": 1, "iops-size": {"a_b": 2}, "of-none": 3}` + check},
		{name: "of another command", source: script(schema), text: start + `vm.qmp("other", bps_rd=1)
	want = {"bps-rd": 1}` + check},
		{name: "without a schema", source: script(nil), text: start + `vm.qmp("block_set_io_throttle", bps_rd=1)
	want = {"bps-rd": 1}` + check},
		{name: "of a QEMU that ends", source: qmptest.Script{StopAt: "query-qmp-schema", Die: true}, status: result.Fail, want: []string{"QEMU of vm1 on host1 ended by signal 9"}, text: start + `vm.qmp("other", bps_rd=1)`},
	})
}
