package ima

import "strings"

// builtin are the templates that the kernel knows by name
// (builtin_templates, ima_template.c). A list made with ima_template_fmt= has
// the format itself where the name would be.
var builtin = map[string][]string{
	legacyTemplate: {"d", "n"},
	"ima-ng":       {"d-ng", "n-ng"},
	"ima-sig":      {"d-ng", "n-ng", "sig"},
	"ima-ngv2":     {"d-ngv2", "n-ng"},
	"ima-sigv2":    {"d-ngv2", "n-ng", "sig"},
	"ima-buf":      {"d-ng", "n-ng", "buf"},
	"ima-modsig":   {"d-ng", "n-ng", "sig", "d-modsig", "modsig"},
	"evm-sig":      {"d-ng", "n-ng", "evmsig", "xattrnames", "xattrlengths", "xattrvalues", "iuid", "igid", "imode"},
}

// fieldNames are the fields that a format can name (supported_fields).
var fieldNames = map[string]bool{
	"d": true, "n": true, "d-ng": true, "d-ngv2": true, "n-ng": true, "sig": true, "buf": true, "d-modsig": true,
	"modsig": true, "evmsig": true, "iuid": true, "igid": true, "imode": true, "xattrnames": true, "xattrlengths": true,
	"xattrvalues": true,
}

// maxFields is what the kernel allows in a format (TEMPLATE_NUM_FIELDS_MAX).
const maxFields = 15

// formatOf returns the field names of a template, nil for one that is not
// known: its data is opaque, and hashed all the same.
func formatOf(template []byte) []string {
	if fields, known := builtin[string(template)]; known {
		return fields
	}
	fields := strings.Split(string(template), "|")
	if len(fields) > maxFields {
		return nil
	}
	for _, f := range fields {
		if !fieldNames[f] {
			return nil
		}
	}
	return fields
}
