package main

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"os"
	"strings"

	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/kms/cliplugin/handler"
)

// pluginMain is sigstore-kms-test, a plugin by sigstore's protocol: test://FILE
// is the key of a file, in PEM or the note encoding. The key store changes the key of a file that ends in
// .changing: it signs with FILE.next.
func pluginMain() {
	if err := pluginRun(); err != nil {
		handler.WriteErrorResponse(os.Stdout, err)
		os.Exit(1)
	}
}

func pluginRun() error {
	args, err := handler.GetPluginArgs(os.Args)
	if err != nil {
		return err
	}
	file := args.InitOptions.KeyResourceID
	if strings.HasSuffix(file, ".changing") && args.SignMessage != nil {
		file += ".next"
	}
	private, err := pluginPrivate(file)
	if err != nil {
		return err
	}
	sv, err := signature.LoadSignerVerifier(private, args.InitOptions.HashFunc)
	if err != nil {
		return err
	}
	_, err = handler.Dispatch(os.Stdout, os.Stdin, args, pluginKey{sv})
	return err
}

func pluginPrivate(file string) (crypto.PrivateKey, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(string(b), "PRIVATE+KEY+") {
		return cryptoutils.UnmarshalPEMToPrivateKey(b, nil)
	}
	f := strings.SplitN(strings.TrimSpace(string(b)), "+", 5)
	raw, err := base64.StdEncoding.DecodeString(f[4])
	if err != nil {
		return nil, err
	}
	return ed25519.NewKeyFromSeed(raw[1:]), nil
}

// A pluginKey signs, and does nothing else of what a KMS can do.
type pluginKey struct{ signature.SignerVerifier }

var errSignsOnly = errors.New("this plugin signs, and nothing else")

func (pluginKey) CreateKey(context.Context, string) (crypto.PublicKey, error) {
	return nil, errSignsOnly
}

func (pluginKey) CryptoSigner(context.Context, func(error)) (crypto.Signer, crypto.SignerOpts, error) {
	return nil, nil, errSignsOnly
}

func (pluginKey) SupportedAlgorithms() []string { return nil }
func (pluginKey) DefaultAlgorithm() string      { return "" }
