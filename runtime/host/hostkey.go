// SPDX-License-Identifier: Apache-2.0

package host

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"

	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
	xknownhosts "golang.org/x/crypto/ssh/knownhosts"
)

// hostKeyCheck judges the key that a host shows.
type hostKeyCheck struct {
	config Config
	files  []string // the known_hosts files that exist
	db     *knownhosts.HostKeyDB
	log    *slog.Logger
	passed bool // set when a key was accepted
}

func newHostKeyCheck(c Config, log *slog.Logger) (*hostKeyCheck, error) {
	check := &hostKeyCheck{config: c, log: log}
	for _, file := range c.KnownHostsFiles {
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		check.files = append(check.files, file)
	}
	db, err := knownhosts.NewDB(check.files...)
	if err != nil {
		return nil, fmt.Errorf("%s: read the known hosts: %w", c.Name, err)
	}
	check.db = db
	return check, nil
}

// algorithms returns the kinds of host keys to ask for: first those that are
// known, or a host with several keys would show one that is not. The others
// follow, so that a host that was installed anew can show what it has.
func (k *hostKeyCheck) algorithms() []string {
	algorithms := k.db.HostKeyAlgorithms(k.config.keyName())
	for _, a := range ssh.SupportedAlgorithms().HostKeys {
		if !slices.Contains(algorithms, a) {
			algorithms = append(algorithms, a)
		}
	}
	return algorithms
}

// verify is an [ssh.HostKeyCallback].
func (k *hostKeyCheck) verify(_ string, remote net.Addr, key ssh.PublicKey) error {
	if k.config.HostKeys == AnyHostKey {
		k.passed = true
		return nil
	}
	if _, ok := remote.(*net.TCPAddr); !ok {
		remote = &net.TCPAddr{IP: net.IPv4zero} // forwarded by a jump host
	}
	name := k.config.keyName()
	err := k.db.HostKeyCallback()(name, remote, key)
	if err == nil {
		k.passed = true
		return nil
	}
	refusal := &HostKeyError{
		Host:     k.config.Name,
		Endpoint: k.config.endpoint(),
		KeyName:  knownhosts.Normalize(name),
		Offered:  fingerprint(key),
		Files:    k.config.KnownHostsFiles,
	}
	var revoked *xknownhosts.RevokedError
	var mismatch *xknownhosts.KeyError
	switch {
	case errors.As(err, &revoked):
		refusal.Revoked = &KnownKey{Fingerprint: fingerprint(revoked.Revoked.Key), File: revoked.Revoked.Filename, Line: revoked.Revoked.Line}
		return refusal
	case errors.As(err, &mismatch) && len(mismatch.Want) > 0:
		for _, want := range mismatch.Want {
			refusal.Known = append(refusal.Known, KnownKey{Fingerprint: fingerprint(want.Key), File: want.Filename, Line: want.Line})
		}
		return refusal
	case errors.As(err, &mismatch):
		if k.config.HostKeys != AcceptNewHostKeys || len(k.config.KnownHostsFiles) == 0 {
			return refusal
		}
		if err := k.learn(name, key); err != nil {
			return err
		}
		k.passed = true
		return nil
	}
	return fmt.Errorf("%s: check the host key of %s: %w", k.config.Name, k.config.endpoint(), err)
}

// learn writes a new host's key into the first known_hosts file.
func (k *hostKeyCheck) learn(name string, key ssh.PublicKey) error {
	path := k.config.KnownHostsFiles[0]
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("%s: add the host key: %w", k.config.Name, err)
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("%s: add the host key: %w", k.config.Name, err)
	}
	_, err = fmt.Fprintln(f, knownhosts.Line([]string{name}, key))
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("%s: add the host key to %s: %w", k.config.Name, path, err)
	}
	k.log.Warn("accepted a new host key", "host", k.config.Name, "key", fingerprint(key), "file", path)
	return nil
}

func fingerprint(key ssh.PublicKey) string {
	return key.Type() + " " + ssh.FingerprintSHA256(key)
}
