// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// WriteText writes a table of the lab's hosts, and how to log in.
func (s *State) WriteText(w io.Writer) error {
	fmt.Fprintf(w, "The %s lab is up since %s (process %d).\n\n", s.Kind, s.Since.Local().Format(time.DateTime), s.PID)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "HOST\tADDRESS\tPORT\tSTATE FOLDER")
	for _, e := range s.Hosts {
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\n", e.Name, e.Address, e.Port, e.StateDir)
	}
	fmt.Fprintln(t)
	fmt.Fprintf(t, "shared folder:\t%s\n", s.Params()["images_base_dir"])
	fmt.Fprintf(t, "log in:\tmhmig lab ssh %s\n", s.Hosts[0].Name)
	fmt.Fprintf(t, "or, for scp, rsync, …:\tssh -F %s %s\n", s.SSHConfig(), s.Hosts[0].Name)
	fmt.Fprintf(t, "end the lab:\tmhmig lab down\n")
	return t.Flush()
}
