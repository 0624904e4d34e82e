package cli

import (
	"runtime/debug"
)

// revisionDigits is how much of a commit's name the version shows: what git
// itself shows for a large repository.
const revisionDigits = 12

// Version gives the version the Go tool stamped into the binary: the module's
// version, else the commit, else "devel".
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	return version(info)
}

func version(info *debug.BuildInfo) string {
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	var revision, modified string
	for _, setting := range info.Settings {
		switch {
		case setting.Key == "vcs.revision" && len(setting.Value) > revisionDigits:
			revision = "-" + setting.Value[:revisionDigits]
		case setting.Key == "vcs.modified" && setting.Value == "true":
			modified = "-dirty"
		}
	}
	return "devel" + revision + modified
}
