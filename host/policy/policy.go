// Package policy holds the rules on passwords and on login attempts. It decides and
// counts; it stores nothing and asks nobody.
//
// [Passwords.Check] is asked whenever a password is set, by whoever sets it.
// [Attempts.Reserve] is asked before a password is checked.
package policy

// NoFactor in place of methods lets an account log in without a second factor.
const NoFactor = "none"
