settings = {
  usernames = ["root", "Daemon"]
  list      = "# from /etc/ftpusers\nbin\n  sys   # no login\n"
  patterns  = ["svc-*", "?"]
}

case "somebody else" {
  user = "alice"
  expect { verdict = "unknown" }
}

case "listed by name" {
  user = "root"
  expect {
    verdict = "rejected"
    reason  = "name_not_allowed"
  }
}

case "case does not count" {
  user = "daemon"
  expect { verdict = "rejected" }
}

case "listed in the file" {
  user = "sys"
  expect { verdict = "rejected" }
}

case "a comment is no name" {
  user = "no login"
  expect { verdict = "unknown" }
}

case "pattern" {
  user = "svc-backup"
  expect { verdict = "rejected" }
}

case "pattern is the whole name" {
  user = "my-svc-backup"
  expect { verdict = "unknown" }
}

case "denied network" {
  settings = { networks = ["203.0.113.0/24", "2001:db8::1"] }
  fields   = { "client.ip" = "203.0.113.9" }
  expect {
    verdict = "rejected"
    reason  = "source_not_allowed"
  }
}

case "denied address" {
  settings = { networks = ["203.0.113.0/24", "2001:db8::1"] }
  fields   = { "client.ip" = "2001:db8::1" }
  expect { verdict = "rejected" }
}

case "another network" {
  settings = { networks = ["203.0.113.0/24"] }
  fields   = { "client.ip" = "203.0.114.9" }
  expect { verdict = "unknown" }
}

case "not an allowed network" {
  settings = { allowed_networks = ["10.0.0.0/8"] }
  fields   = { "client.ip" = "192.0.2.1" }
  expect {
    verdict = "rejected"
    reason  = "source_not_allowed"
  }
}

case "an allowed network, as IPv6 writes it" {
  settings = { allowed_networks = ["10.0.0.0/8"] }
  fields   = { "client.ip" = "::ffff:10.1.2.3" }
  expect { verdict = "unknown" }
}

case "a network as IPv6 writes it" {
  settings = { networks = ["::ffff:203.0.113.0/120"] }
  fields   = { "client.ip" = "203.0.113.7" }
  expect { verdict = "rejected" }
}

case "an address with a zone" {
  settings = { networks = ["fe80::/10"] }
  fields   = { "client.ip" = "fe80::1%lo" }
  expect { verdict = "rejected" }
}

case "a pattern with a backslash" {
  user     = "corp\\bob"
  settings = { patterns = ["corp\\*"] }
  expect { verdict = "rejected" }
}

case "no network" {
  settings = { networks = ["203.0.113"] }
  fields   = { "client.ip" = "192.0.2.1" }
  expect {
    verdict = "failed"
    error   = "neither an address nor a network"
  }
}

case "within the hours, in summer time" {
  settings = { hours = ["Mon-Fri 08:00-18:00"], time_zone = "Europe/London" }
  now      = "2026-07-01T07:30:00Z" # a Wednesday
  expect { verdict = "unknown" }
}

case "outside of the hours" {
  settings = { hours = ["Mon-Fri 08:00-18:00"], time_zone = "Europe/London" }
  now      = "2026-07-01T17:00:00Z"
  expect {
    verdict = "rejected"
    reason  = "not_at_this_time"
  }
}

case "on another day" {
  settings = { hours = ["Mon-Fri 08:00-18:00"] }
  now      = "2026-07-04T12:00:00Z"
  expect { verdict = "rejected" }
}

case "past midnight" {
  settings = { hours = ["Sat,Sun 22:00-06:00"] }
  now      = "2026-07-06T05:59:00Z" # a Monday
  expect { verdict = "unknown" }
}

case "hours that nobody can read" {
  settings = { hours = ["weekdays"] }
  expect {
    verdict = "failed"
    error   = "are expected"
  }
}

case "no such time zone" {
  settings = { hours = ["Mon 08:00-18:00"], time_zone = "Middle/Earth" }
  expect { verdict = "failed" }
}
