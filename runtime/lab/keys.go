// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// keys are the SSH keys of a lab: the user's key, and one host key for each host.
type keys struct {
	client ssh.PublicKey
	hosts  []hostKey
}

type hostKey struct {
	private []byte // in OpenSSH's format
	signer  ssh.Signer
}

// newKeys makes the keys of a lab with n hosts, and writes the client's to
// files.
func newKeys(s *State, n int) (*keys, error) {
	client, err := newKey()
	if err != nil {
		return nil, err
	}
	k := &keys{client: client.signer.PublicKey()}
	for range n {
		h, err := newKey()
		if err != nil {
			return nil, err
		}
		k.hosts = append(k.hosts, h)
	}
	if err := os.WriteFile(s.keyFile(), client.private, 0o600); err != nil {
		return nil, err
	}
	return k, os.WriteFile(s.publicKeyFile(), k.authorized(), 0o600)
}

func newKey() (hostKey, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return hostKey{}, fmt.Errorf("make an SSH key: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(private, "mhmig lab")
	if err != nil {
		return hostKey{}, fmt.Errorf("encode an SSH key: %w", err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return hostKey{}, fmt.Errorf("use an SSH key: %w", err)
	}
	return hostKey{private: pem.EncodeToMemory(block), signer: signer}, nil
}

// authorized returns the line of an authorized_keys file.
func (k *keys) authorized() []byte { return ssh.MarshalAuthorizedKey(k.client) }

// writeClientFiles writes the known_hosts file with which the lab's hosts are
// verified, and a configuration for the program ssh.
func (k *keys) writeClientFiles(s *State) error {
	var known, config bytes.Buffer
	for n, e := range s.Hosts {
		address := knownhosts.Normalize(net.JoinHostPort(e.Address, strconv.Itoa(e.Port)))
		fmt.Fprintln(&known, knownhosts.Line([]string{address}, k.hosts[n].signer.PublicKey()))
		fmt.Fprintf(&config, "Host %s\n\tHostName %s\n\tPort %d\n", e.Name, e.Address, e.Port)
	}
	fmt.Fprintf(&config, "Host *\n\tUser %s\n\tIdentityFile \"%s\"\n\tIdentitiesOnly yes\n"+
		"\tUserKnownHostsFile \"%s\"\n\tStrictHostKeyChecking yes\n", s.User, s.keyFile(), s.knownHostsFile())
	return errors.Join(
		os.WriteFile(s.knownHostsFile(), known.Bytes(), 0o600),
		os.WriteFile(s.SSHConfig(), config.Bytes(), 0o600))
}
