// Command imaledger-agent is the host's side of a ledger.
package main

func main() {}
