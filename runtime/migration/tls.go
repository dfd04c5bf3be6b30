// SPDX-License-Identifier: Apache-2.0

package migration

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/mhmig/mhmig/lang/api"
	"github.com/mhmig/mhmig/runtime/credentials"
	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/result"
)

const (
	tlsX509 = "x509"
	tlsPSK  = "psk"
	// The migration parameters of mig_tls.
	tlsCreds    = "tls-creds"
	tlsHostname = "tls-hostname"
	// tlsObject is the id of the object with the credentials, in both QEMUs.
	tlsObject = "mhmig-tls"
	// tlsUser is as whom the source presents itself with a pre-shared key.
	tlsUser = "mhmig"
)

// tlsOptions are mig_tls, mig_tls_hostname and mig_tls_certificate_name.
type tlsOptions struct {
	kind     string // x509 or psk; "": none
	hostname string // that the source expects; "": the destination's address
	name     string // in the destination's certificate; "": its address
}

func parseTLS(v api.Values) tlsOptions {
	o := tlsOptions{kind: v.Choice("mig_tls"), hostname: v.Word("mig_tls_hostname"), name: v.Word("mig_tls_certificate_name")}
	if o.kind == "none" {
		o.kind = ""
	}
	for _, param := range []string{"mig_tls_hostname", "mig_tls_certificate_name"} {
		if o.kind != tlsX509 && v.Has(param) {
			v.Unfit(param, "needs mig_tls = x509: only certificates have names")
		}
	}
	return o
}

// tls is the feature of mig_tls: the connections of a move are encrypted, with
// credentials that are made for it. A destination that has credentials accepts no other
// connections.
type tls struct {
	tlsOptions
	addressed bool // QEMU knows the destination's address by the transport's URI

	address        string // of the destination, when its end is set
	server, client credentials.Files
	before         map[Role]map[string]any // the parameters before, of the ends that were set
}

func newTLS(o options, _ Traits) Feature {
	return &tls{tlsOptions: o.tls, addressed: o.protocol == "tcp", before: map[Role]map[string]any{}}
}

func (f *tls) Capabilities(Role) []string { return nil }

func (f *tls) Parameters(Role) []string {
	if f.kind == "" {
		return nil
	}
	return []string{tlsCreds, tlsHostname}
}

// Set makes an object with the end's credentials in QEMU. The destination is set before
// the source.
func (f *tls) Set(ctx context.Context, role Role, p Peer) error {
	if f.kind == "" {
		return nil
	}
	if err := f.makeCredentials(role, p); err != nil {
		return err
	}
	files, endpoint := f.client, "client"
	if role == DestinationRole {
		files, endpoint = f.server, "server"
	}
	var current map[string]any
	if err := p.Execute(ctx, "query-migrate-parameters", nil, &current); err != nil {
		return err
	}
	if err := f.addObject(ctx, p, files, endpoint); err != nil {
		return err
	}
	f.before[role] = map[string]any{}
	for _, name := range []string{tlsCreds, tlsHostname} {
		f.before[role][name], _ = current[name].(string)
	}
	return p.Execute(ctx, "migrate-set-parameters", map[string]any{tlsCreds: tlsObject, tlsHostname: f.expected(role)}, nil)
}

// expected is the tls-hostname of an end: the name that the source expects in the
// destination's certificate, where it is not the address of the transport's URI.
func (f *tls) expected(role Role) string {
	switch {
	case role == DestinationRole || f.kind != tlsX509:
		return ""
	case f.hostname == "" && !f.addressed:
		return f.address
	}
	return f.hostname
}

// certified is the name in the destination's certificate.
func (f *tls) certified() string {
	if f.name != "" {
		return f.name
	}
	return f.address
}

func (f *tls) makeCredentials(role Role, p Peer) (err error) {
	switch {
	case role != DestinationRole:
	case f.kind == tlsPSK:
		f.server, f.client = credentials.PSK(tlsUser)
	default:
		f.address = p.Address()
		f.server, f.client, err = credentials.X509(time.Now(), f.certified())
	}
	return err
}

// credentialsDir is where an end's files are, in the run's folder of its host, with which
// they are removed if mhmig is interrupted.
func credentialsDir(p Peer) string { return p.Spec().Migration + "-" + tlsObject }

// addObject makes the object of an end. QEMU reads the files at once, except that of the
// pre-shared key on the destination, which it reads with each connection.
func (f *tls) addObject(ctx context.Context, p Peer, files credentials.Files, endpoint string) (err error) {
	dir := credentialsDir(p)
	if err := p.Machine().MkdirAll(ctx, dir, 0o700); err != nil {
		return err
	}
	defer func() {
		if err != nil || f.kind != tlsPSK || endpoint != "server" {
			err = errors.Join(err, p.Machine().RemoveAll(context.WithoutCancel(ctx), dir))
		}
	}()
	for name, content := range files {
		if err := p.Machine().WriteFile(ctx, path.Join(dir, name), content, 0o600); err != nil {
			return err
		}
	}
	object := map[string]any{"qom-type": "tls-creds-" + f.kind, "id": tlsObject, "dir": dir, "endpoint": endpoint}
	switch {
	case f.kind == tlsX509:
		object["verify-peer"] = true
	case endpoint == "client":
		object["username"] = tlsUser
	}
	err = p.Execute(ctx, "object-add", object, nil)
	if refused, ok := errors.AsType[*qmp.Error](err); ok && (strings.Contains(refused.Desc, "GNUTLS") || strings.Contains(refused.Desc, "invalid object type")) {
		return result.Skip.Errorf("%s: this QEMU has no TLS credentials of the kind %s: %w", p, f.kind, err)
	}
	return err
}

// Reset removes the credentials.
func (f *tls) Reset(ctx context.Context, role Role, p Peer) error {
	before := f.before[role]
	if before == nil {
		return nil
	}
	if err := p.Execute(ctx, "migrate-set-parameters", before, nil); err != nil {
		return err
	}
	if err := p.Execute(ctx, "object-del", map[string]any{"id": tlsObject}, nil); err != nil {
		return err
	}
	return p.Machine().RemoveAll(ctx, credentialsDir(p))
}

// Check checks that both ends still have the credentials. A destination that has them
// refuses what is not encrypted, so that a guest that has moved was. A source that
// expected another name than that in the certificate should not have sent it.
func (f *tls) Check(ctx context.Context, o *Outcome) error {
	if f.kind == "" {
		return nil
	}
	for _, role := range []Role{DestinationRole, SourceRole} {
		got, err := o.Parameter(ctx, role, tlsCreds)
		if err != nil {
			return err
		}
		if got != tlsObject {
			return unused("TLS (%s) was on, but %s has the credentials %q, not %q: the guest may have been sent unencrypted", f.kind, o.End(role), fmt.Sprint(got), tlsObject)
		}
	}
	if name := cmp.Or(f.hostname, f.address); f.kind == tlsX509 && name != f.certified() {
		return unused("TLS (%s) was on, and the source expected the name %s, but %s accepted a certificate of %s", f.kind, name, o.End(SourceRole), f.certified())
	}
	o.Used("tls", "both ends have the credentials, %s, and the destination accepts nothing unencrypted", f.kind)
	return nil
}
