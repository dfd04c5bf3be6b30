// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
	xknownhosts "golang.org/x/crypto/ssh/knownhosts"
)

// hostKeyCheck verifies a host's key.
type hostKeyCheck struct {
	config   Config
	db       *knownhosts.HostKeyDB
	file     func(name string) string // maps a file in db to the user's file
	log      *slog.Logger
	accepted ssh.PublicKey // the key that was accepted
	unsafe   func()        // called when the accepted key has changed or is revoked
}

func newHostKeyCheck(c Config, log *slog.Logger, unsafe func()) (*hostKeyCheck, error) {
	known, err := readKnownHosts(slices.Concat(c.KnownHostsFiles, c.GlobalKnownHostsFiles), log)
	if err != nil {
		return nil, fmt.Errorf("%s: read known_hosts: %w", c.Name, err)
	}
	return &hostKeyCheck{config: c, db: known.db, file: known.original, log: log, unsafe: unsafe}, nil
}

// hostKeyAlgorithms are OpenSSH's host key algorithms, in its order.
var hostKeyAlgorithms = []string{
	ssh.CertAlgoED25519v01, ssh.CertAlgoECDSA256v01, ssh.CertAlgoECDSA384v01, ssh.CertAlgoECDSA521v01,
	ssh.CertAlgoRSASHA512v01, ssh.CertAlgoRSASHA256v01,
	ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521,
	ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256,
}

// algorithms returns the host key algorithms to request: first those of known
// keys, or a host with several keys might send one that is not known. The others
// follow, so that a reinstalled host can send a new key. The user's own order is
// kept, as by ssh.
func (k *hostKeyCheck) algorithms() ([]string, error) {
	allowed := hostKeyAlgorithms
	if len(k.config.HostKeyAlgorithms) > 0 {
		var err error
		if allowed, err = supported("HostKeyAlgorithms", k.config.HostKeyAlgorithms, hostKeys); err != nil {
			return nil, err
		}
	}
	if !inOrder(allowed) {
		return allowed, nil
	}
	keys := k.db.HostKeys(k.config.keyName())
	var known, unknown []string
	for _, a := range allowed {
		plain, certificate := strings.CutSuffix(a, "-cert-v01@openssh.com")
		if strings.HasPrefix(plain, "rsa-sha2-") {
			plain = ssh.KeyAlgoRSA
		}
		if slices.ContainsFunc(keys, func(key knownhosts.PublicKey) bool {
			return key.Cert && certificate || !key.Cert && key.Type() == plain
		}) {
			known = append(known, a)
		} else {
			unknown = append(unknown, a)
		}
	}
	return append(known, unknown...), nil
}

// inOrder reports whether a list is a subsequence of ssh's host key algorithms,
// followed by others: then ssh, too, requests known ones first.
func inOrder(list []string) bool {
	rest := hostKeyAlgorithms
	for i, a := range list {
		at := slices.Index(rest, a)
		if at < 0 {
			return !slices.ContainsFunc(list[i:], func(a string) bool { return slices.Contains(hostKeyAlgorithms, a) })
		}
		rest = rest[at+1:]
	}
	return true
}

// verify is an [ssh.HostKeyCallback].
func (k *hostKeyCheck) verify(_ string, remote net.Addr, key ssh.PublicKey) error {
	if k.accepted != nil && sameKey(k.accepted, key) {
		return nil // rekeying
	}
	if err := k.check(remote, key); err != nil {
		return err
	}
	k.accepted = key
	return nil
}

func (k *hostKeyCheck) check(remote net.Addr, key ssh.PublicKey) error {
	if cert, ok := key.(*ssh.Certificate); ok && !k.hasCA() {
		key = cert.Key // no CA is known for the host
	}
	refusal := &HostKeyError{
		Host:     k.config.Name,
		Endpoint: k.config.endpoint(),
		KeyName:  knownhosts.Normalize(k.config.keyName()),
		Offered:  fingerprint(key),
		Files:    slices.Concat(k.config.KnownHostsFiles, k.config.GlobalKnownHostsFiles),
	}
	switch revoked, err := k.isRevoked(key); {
	case err != nil:
		return fmt.Errorf("%s: RevokedHostKeys: %w", k.config.Name, err)
	case revoked != nil:
		refusal.Revoked = revoked
		return refusal
	}
	if tooShort(key, k.config.MinRSABits) {
		return fmt.Errorf("%s: the host key of %s, %s, is shorter than RequiredRSASize %d", k.config.Name, k.config.endpoint(), fingerprint(key), k.config.MinRSABits)
	}
	if cert, ok := key.(*ssh.Certificate); ok {
		if allowed := k.config.CAAlgorithms; len(allowed) > 0 && !slices.Contains(allowed, cert.Signature.Format) {
			return fmt.Errorf("%s: the host certificate of %s is signed with %s, which CASignatureAlgorithms does not include", k.config.Name, k.config.endpoint(), cert.Signature.Format)
		}
	}
	address, direct := remote.(*net.TCPAddr)
	if direct && len(k.config.ProxyJump) > 0 || !direct {
		direct, address = false, &net.TCPAddr{IP: net.IPv4zero} // forwarded by a jump host
	}
	if direct && k.config.TrustLocalhost && address.IP.IsLoopback() && k.config.HostKeyAlias == "" {
		return nil
	}
	known, err := k.lookUp(k.config.keyName(), address, key, refusal)
	switch {
	case err != nil:
		return err
	case known && k.config.CheckHostIP && direct && !address.IP.IsLoopback() && k.config.HostKeyAlias == "" && net.ParseIP(k.config.Address) == nil:
		name := net.JoinHostPort(address.IP.String(), strconv.Itoa(k.config.Port))
		if known, err := k.lookUp(name, address, key, refusal); err != nil || known || !refusal.Changed() {
			return err
		}
		refusal.KeyName = knownhosts.Normalize(name)
	case known:
		return nil
	case refusal.Revoked == nil && !refusal.Changed():
		if k.config.Port != 22 && k.config.HostKeyAlias == "" { // then ssh also looks it up without the port
			if known, err := k.lookUp(net.JoinHostPort(k.config.Address, "22"), address, key, &HostKeyError{}); err == nil && known {
				return nil
			}
		}
		if k.config.HostKeys == StrictHostKeys {
			return refusal
		}
		k.addKnownHost(k.config.keyName(), key)
		return nil
	}
	if k.config.HostKeys != AnyHostKey {
		return refusal
	}
	k.unsafe()
	k.log.Warn("ACCEPTED A CHANGED OR REVOKED HOST KEY because of StrictHostKeyChecking no; the host gets no password", "host", k.config.Name, "reason", refusal.Error())
	return nil
}

// hasCA reports whether a @cert-authority line matches the host.
func (k *hostKeyCheck) hasCA() bool {
	return slices.ContainsFunc(k.db.HostKeys(k.config.keyName()), func(key knownhosts.PublicKey) bool { return key.Cert })
}

// lookUp looks a key up in the known_hosts files. If it is revoked, or the host has
// other keys there, it records that in refusal.
func (k *hostKeyCheck) lookUp(name string, remote net.Addr, key ssh.PublicKey, refusal *HostKeyError) (known bool, err error) {
	err = k.db.HostKeyCallback()(name, remote, key)
	var revoked *xknownhosts.RevokedError
	var mismatch *xknownhosts.KeyError
	switch {
	case err == nil:
		return true, nil
	case errors.As(err, &revoked):
		refusal.Revoked = &KnownKey{Fingerprint: fingerprint(revoked.Revoked.Key), File: k.file(revoked.Revoked.Filename), Line: revoked.Revoked.Line}
		return false, nil
	case errors.As(err, &mismatch):
		for _, want := range mismatch.Want {
			refusal.Known = append(refusal.Known, KnownKey{Fingerprint: fingerprint(want.Key), File: k.file(want.Filename), Line: want.Line})
		}
		return false, nil
	}
	if strings.HasPrefix(name, "[") && !strings.HasSuffix(name, "]:22") {
		return false, nil // the library cannot look for IPv6 addresses with a port in lines with wildcards
	}
	return false, fmt.Errorf("%s: check the host key of %s: %w", k.config.Name, k.config.endpoint(), err)
}

// isRevoked looks a key up in the file of revoked keys.
func (k *hostKeyCheck) isRevoked(key ssh.PublicKey) (*KnownKey, error) {
	file := k.config.RevokedHostKeys
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if bytes.HasPrefix(text, []byte("SSHKRL\n\x00")) {
		return nil, fmt.Errorf("%s: mhmig supports lists of public keys, not binary key revocation lists", file)
	}
	shown := []ssh.PublicKey{key}
	if cert, ok := key.(*ssh.Certificate); ok {
		shown = append(shown, cert.Key, cert.SignatureKey)
	}
	n := 0
	for line := range bytes.Lines(text) {
		n++
		revoked, _, _, _, err := ssh.ParseAuthorizedKey(line)
		if err != nil {
			continue
		}
		if slices.ContainsFunc(shown, func(key ssh.PublicKey) bool { return sameKey(key, revoked) }) {
			return &KnownKey{Fingerprint: fingerprint(revoked), File: file, Line: n}, nil
		}
	}
	return nil, nil
}

// addKnownHost appends a new host's key to the first known_hosts file. A write error
// is only logged, as by ssh: the host is accepted anyway.
func (k *hostKeyCheck) addKnownHost(name string, key ssh.PublicKey) {
	if len(k.config.KnownHostsFiles) == 0 {
		return
	}
	path := k.config.KnownHostsFiles[0]
	written := knownhosts.Normalize(name)
	if k.config.HashKnownHosts {
		written = xknownhosts.HashHostname(written)
	}
	err := os.MkdirAll(filepath.Dir(path), 0o700)
	if err == nil {
		err = appendLine(path, written+" "+string(ssh.MarshalAuthorizedKey(key)))
	}
	if err != nil {
		k.log.Warn("accepted a new host key, but cannot add it to known_hosts", "host", k.config.Name, "key", fingerprint(key), "reason", err)
		return
	}
	k.log.Warn("accepted a new host key", "host", k.config.Name, "key", fingerprint(key), "file", path)
}

func appendLine(path, line string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(line)
	return errors.Join(err, f.Close())
}

func fingerprint(key ssh.PublicKey) string {
	return key.Type() + " " + ssh.FingerprintSHA256(key)
}
