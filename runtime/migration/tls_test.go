// SPDX-License-Identifier: Apache-2.0

package migration_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/runtime/migration"
	"github.com/mhmig/mhmig/runtime/qmp/qmptest"
	"github.com/mhmig/mhmig/runtime/result"
	"github.com/mhmig/mhmig/runtime/testbed/bedtest"
)

// hasTLS checks the parameters of an end.
func hasTLS(ctx context.Context, s *migration.Side, creds, hostname string) error {
	got, err := parametersOf(ctx, s)
	if err == nil && (got["tls-creds"] != creds || got["tls-hostname"] != hostname) {
		err = fmt.Errorf("%s: tls-creds is %q and tls-hostname %q, want %q and %q", s.Role, got["tls-creds"], got["tls-hostname"], creds, hostname)
	}
	return err
}

// noFiles checks that no credentials are left in the hosts' folders.
func noFiles(m *migration.Migration) error {
	for _, s := range []*migration.Side{m.Source, m.Destination} {
		left, err := filepath.Glob(filepath.Join(s.Host.RunDir(), "*tls*"))
		if err != nil || len(left) > 0 {
			return fmt.Errorf("on %s: %v are left (%w)", s.Host.Name(), left, err)
		}
	}
	return nil
}

// Both ends get credentials for the move, and lose them afterwards. An end that has none
// is found.
func TestTLS(t *testing.T) {
	t.Parallel()
	x509, psk := cartesian.Params{"mig_tls": "x509"}, cartesian.Params{"mig_tls": "psk"}
	during := func(hostname string) func(context.Context, *migration.Migration) error {
		return func(ctx context.Context, m *migration.Migration) error {
			if err := m.Wait(ctx, migration.Condition{Status: "active"}); err != nil {
				return err
			}
			if err := hasTLS(ctx, m.Source, "mhmig-tls", hostname); err != nil {
				return err
			}
			return hasTLS(ctx, m.Destination, "mhmig-tls", "")
		}
	}
	gone := func(side func(*migration.Migration) *migration.Side) func(context.Context, *migration.Migration) error {
		return func(ctx context.Context, m *migration.Migration) error {
			err := side(m).Instance("vm1").Execute(ctx, "object-del", map[string]any{"id": "mhmig-tls"}, nil)
			if err := refused(err, "object 'mhmig-tls' not found"); err != nil {
				return err
			}
			if err := noFiles(m); err != nil {
				return err
			}
			return hasTLS(ctx, side(m), "", "")
		}
	}
	source := func(m *migration.Migration) *migration.Side { return m.Source }
	destination := func(m *migration.Migration) *migration.Side { return m.Destination }
	withoutGnuTLS := func(command string, _ json.RawMessage) (any, error, bool) {
		return nil, &qmptest.CommandError{Class: "GenericError", Desc: "TLS credentials support requires GNUTLS"}, command == "object-add"
	}
	for _, tt := range []testCase{
		{name: "x509", params: x509, source: qmptest.Script{StopAt: "MIGRATION:active", Stop: delay}, concurrent: during(""), after: gone(destination)},
		{name: "psk", params: psk, source: qmptest.Script{StopAt: "MIGRATION:active", Stop: delay}, concurrent: during(""), after: gone(destination)},
		{
			name: "another name", params: cartesian.Params{"mig_tls": "x509", "mig_tls_certificate_name": "guests.example", "mig_tls_hostname": "guests.example"},
			source: qmptest.Script{StopAt: "MIGRATION:active", Stop: delay}, concurrent: during("guests.example"),
		},
		{
			name: "over a unix socket", params: cartesian.Params{"mig_tls": "x509", "mig_protocol": "unix"},
			source: qmptest.Script{StopAt: "MIGRATION:active", Stop: delay}, concurrent: during("127.0.0.1"),
		},
		{name: "cancelled", params: and(x509, "cancel_delay", "0.05"), source: qmptest.Script{Endless: true}, after: gone(source), at: "host1"},
		{
			name: "the source has no credentials", params: x509, source: qmptest.Script{Dropped: []string{"tls-creds"}}, fails: true, status: result.Fail,
			want: []string{srcFailed, `TLS (x509) was on, but vm1@host1 has the credentials "", not "mhmig-tls"`},
		},
		{
			name: "the destination has no credentials", params: psk, destination: qmptest.Script{Dropped: []string{"tls-creds"}}, fails: true, status: result.Fail,
			want: []string{srcFailed, `TLS (psk) was on, but vm1@host2 has the credentials "", not "mhmig-tls"`},
		},
		{
			name: "the source does not verify the name", params: and(x509, "mig_tls_hostname", "other.example"), fails: true, status: result.Fail,
			want: []string{srcFailed, "TLS (x509) was on, and the source expected the name other.example, but vm1@host1 accepted a certificate of 127.0.0.1"},
		},
		{
			name: "the source does not verify the address", params: and(x509, "mig_tls_certificate_name", "guests.example"), fails: true, status: result.Fail,
			want: []string{srcFailed, "TLS (x509) was on, and the source expected the name 127.0.0.1, but vm1@host1 accepted a certificate of guests.example"},
		},
		{
			name: "a QEMU without the parameter", params: x509, source: qmptest.Script{Without: []string{"tls-creds"}}, fails: true, status: result.Skip,
			want: []string{"host1: this QEMU has no migration parameter tls-creds"}, at: "-",
		},
		{
			name: "a QEMU without GnuTLS", params: x509, destination: qmptest.Script{Execute: withoutGnuTLS}, fails: true, status: result.Skip,
			want: []string{"host2: this QEMU has no TLS credentials of the kind x509", "requires GNUTLS"}, at: "-", after: func(_ context.Context, m *migration.Migration) error { return noFiles(m) },
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, tt.run)
		})
	}
	for _, tt := range []struct {
		params cartesian.Params
		want   string
	}{
		{cartesian.Params{"mig_tls_hostname": "x"}, "param mig_tls_hostname: needs mig_tls = x509"},
		{cartesian.Params{"mig_tls": "psk", "mig_tls_certificate_name": "x"}, "param mig_tls_certificate_name: needs mig_tls = x509"},
		{cartesian.Params{"mig_tls": "ssl3"}, "param mig_tls: "},
	} {
		_, err := migration.NewTransport("tcp", tt.params)
		if wrong := refused(err, tt.want); wrong != nil {
			t.Errorf("%v: %v", tt.params, wrong)
		}
	}
}

// With QEMU itself.
func TestTLSQEMU(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		params cartesian.Params
		want   string // of the error of the migration; "": it succeeds
	}{
		{name: "x509", params: cartesian.Params{"mig_tls": "x509"}},
		{name: "psk", params: cartesian.Params{"mig_tls": "psk"}},
		{name: "multifd", params: cartesian.Params{"mig_tls": "x509", "mig_multifd": "yes"}},
		{name: "unix", params: cartesian.Params{"mig_tls": "x509", "mig_protocol": "unix"}},
		{name: "another name", params: cartesian.Params{"mig_tls": "x509", "mig_tls_certificate_name": "guests.example", "mig_tls_hostname": "guests.example"}},
		{
			name: "a wrong name", params: cartesian.Params{"mig_tls": "x509", "mig_tls_hostname": "other.example"},
			want: "the source failed first (host1): Certificate does not match the hostname other.example",
		},
		{
			name: "a wrong address", params: cartesian.Params{"mig_tls": "x509", "mig_tls_certificate_name": "guests.example"},
			want: "the source failed first (host1): Certificate does not match the hostname 127.0.0",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			params := bedtest.Blank(t)
			maps.Copy(params, tt.params)
			bed := prepared(t, params)
			m := start(t, bed, plan(bed))
			err := runBoth(t.Context(), m)
			if tt.want == "" && err != nil {
				t.Fatal(err)
			}
			if tt.want != "" {
				if wrong := refused(err, tt.want); wrong != nil || result.StatusOf(err) != result.Fail {
					t.Errorf("got %v: %v", result.StatusOf(err), wrong)
				}
			}
			if err := noFiles(m); err != nil {
				t.Error(err)
			}
		})
	}
}

// A destination that has credentials accepts no unencrypted migration: a guest that has
// arrived there was encrypted. The check of the feature relies on this.
func TestTLSRefusesUnencrypted(t *testing.T) {
	t.Parallel()
	params := bedtest.Blank(t)
	params["mig_tls"] = "psk"
	bed := prepared(t, params)
	p := plan(bed)
	p.MigrateSrc = func(ctx context.Context, s *migration.Side) error {
		source := s.Instance("vm1")
		uri := fmt.Sprintf("tcp:127.0.0.1:%d", s.Migration.Ports()["vm1"])
		if err := source.Execute(ctx, "migrate", map[string]any{"uri": uri}, nil); err != nil {
			return err
		}
		for {
			var reply struct{ Status migration.State }
			if err := source.Execute(ctx, "query-migrate", nil, &reply); err != nil {
				return err
			}
			if reply.Status.Terminal() {
				return fmt.Errorf("unencrypted: %s", reply.Status)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	err := runBoth(t.Context(), start(t, bed, p))
	if err == nil || !strings.Contains(err.Error(), "unencrypted: failed") {
		t.Errorf("got %v, want that the migration has failed", err)
	}
}
