// SPDX-License-Identifier: Apache-2.0

package vm

// In [ExecMode] one process is several instances one after the other. Its pid file tells
// which of them it is: each instance takes it from the one before. The script that has
// started the process waits for it, and saves the exit status of the last one.

// executed says whether the QEMU is to run in the process of the guest's QEMU.
func (l Launch) executed() bool { return l.Descriptors == ExecMode && l.Handover != nil }

// takeProcess is the beginning of a script that the guest's QEMU executes: it has the
// QEMU's pid. The instance before it has ended normally. %[1]s is the instance's pid file.
const takeProcess = `for other in *.pid; do
	[ "$(cat "$other")" = $$ ] || continue
	echo 0 >"${other%%.pid}.exit"
	mv "$other" %[1]s
done
exec `

// saveStatusOfLast is the end of a script that has started a QEMU.
const saveStatusOfLast = `status=$?
for last in *.pid; do
	[ "$(cat "$last")" = $! ] || continue
	echo $status >"${last%.pid}.exit"
done
`
