# Sallyport's configuration. Every line that is not a comment states the default, or, where
# there is none, the smallest useful choice; "sallyport check" explains whatever is wrong.
# Relative paths are relative to the folder of this file. The functions env("NAME") and
# file("path") put in an environment variable or a file's content; lines(text) makes a list of lines and
# pairs(text) a map of lines "name value", both without comments.

server {
  name             = "sallyport"   # in events, and the name on the self-signed certificate
  description      = ""
  data_dir         = "./data"      # accounts, keys, events (in private/, mode 0700), and by default the files
  authentications  = ["accounts"]  # the methods, in the order in which they are asked
  shutdown_timeout = "30s"         # how long transfers may go on after SIGTERM
  min_free         = "100MiB"      # uploads are refused when less would be free on the disk
}

service "ftps" "main" {
  listen          = "127.0.0.1:2121"
  tls             = "explicit"     # AUTH TLS on the FTP port; or "implicit" (usually port 990)
  # certificate   = "/etc/sallyport/tls.crt"  # PEM. Without these two a self-signed
  # private_key   = "/etc/sallyport/tls.key"  # certificate is made in data_dir, and said so
  # sni {                          # another certificate, for clients that call the server by a name in it; may be repeated
  #   certificate = "/etc/sallyport/other.crt"
  #   private_key = "/etc/sallyport/other.key"
  # }
  client_certificates = "off"      # or "request", or "require": of those that client_ca issued. Method "certificate" logs in by them
  # client_ca     = "/etc/sallyport/clients.pem"   # PEM
  # client_crl    = ["/etc/sallyport/clients.crl"] # revocation lists, PEM or DER; then each issuer must have one that is complete and whose time is not over
  # passive_ports = "50000-50100"  # for firewalls: as many as clients behind one address transfer at the same time. Without it any free port
  login_timeout   = "150s"         # a method's timeout < login_timeout < idle_timeout
  idle_timeout    = "5m"
  time_to_login   = "1m"           # from the connection to the password
  time_to_secure  = "15s"          # from the connection to TLS; at most time_to_login
  time_to_first_command = "10s"    # from the connection to the first command, mostly AUTH; if tls is implicit, from TLS. At most time_to_secure
  data_connect_timeout = "30s"     # from a transfer's command to its data connection
  data_idle_timeout    = "1m"      # a transfer on which nothing moves
  atomic_upload   = true           # a file gets its name when it is complete (APPE and REST excepted)
  sync_uploads    = false          # true: an upload is on the disk, whatever happens to the power, before the client hears that it is complete
  umask           = "027"          # what new files and folders may not, in octal digits; what the umask of the process takes is taken too
  max_path_length = 2048           # bytes
  max_connections = 10000
  max_connections_per_source = 200 # from one address; of IPv6 from one /64
  max_sessions_per_account = 50    # of one user at a time
  max_commands_per_second  = 5000  # of one session; before its login it may send 64 commands in all. More end it, with 421
  # public_address = ["10.0.0.0/8 own", "0.0.0.0/0 203.0.113.5"] # behind NAT: what PASV says to clients of which network. EPSV says none
  file_digests    = "uploads"      # whose SHA-256 the events of files have; or "all", or "none"
  session_reuse   = "warn"         # data connections that do not resume the TLS session of the control connection are named in the log;
                                   # "require" refuses them (README: which clients can), "off" does not look
  # authentications = ["accounts"] # its own list instead of the server's
}

authentication "accounts" {
  plugin                 = "local" # a bundled plugin, or the path of a .wasm file
  # sha256               = "..."   # of the file: another one is refused
  name                   = "accounts"
  enabled                = true    # false: skipped, as after "sallyport method stop accounts"
  timeout                = "30s"
  settings               = {}      # local knows allowed_groups = ["uk-sales"]; empty: every group
  test_at_start          = false   # true: no start, and no reload, if what it asks can't be reached
  debug                  = false   # true: its dialogue with others is in the log, with secrets masked; the names that users type are in it
  second_factor          = []      # methods that must also accept, asked in order
  second_factor_required = true    # false: who is known to none of them, or only to stopped ones, gets in without
  remember               = "60s"   # as a second factor: equal logins need no second approval so long, and as long as a session is open; "0s": none does
  linger                 = "45s"   # how long a request outlives the last client that waited for it: one that gave up may come back
  on_other_source        = "refuse" # or "wait", while the same person is being asked for a login from elsewhere
  on_reject              = "refuse" # or "next": the next method is asked although this one said no
  on_failure             = "refuse" # or "next": the next method is asked although this one is broken

  # Nothing is granted to a plugin by default; "local" needs nothing.
  # grant {
  #   password   = true            # it sees the password
  #   groups     = ["default"]     # groups that it may put its users in
  #   home_under = "/srv/ftp"      # it may say the home folder, below this one, and virtual folders
  #   accounts   = ["public"]      # accounts of this server that it may let its users in as; "*": all
  #   http       = ["https://auth.example.org"]        # where it may send requests; a path narrows it
  #   network    = ["ldaps://ldap.example.org"]        # where it may connect to: tls, tcp, udp, ldaps, ldap
  #   password_to = ["https://auth.example.org"]       # where it may send the password without seeing it
  #   ca         = file("ca.pem")  # trusted there, in place of the system's
  # }

  # A secret that the plugin may send there, and never sees.
  # secret "token" {
  #   value = env("PUSH_TOKEN")
  #   to    = ["https://auth.example.org"]
  # }

  # What its plugin may use; these are the defaults.
  # limits {
  #   module       = "32MiB"       # of the .wasm file; function = "1MiB" of code in one function
  #   memory       = "64MiB"       # of linear memory; table = 65536 entries
  #   run          = "250ms"       # executing in one run
  #   runs         = 200           # of one login: one more than there are answers
  #   recorded     = "64KiB"       # of answers that one login reads
  #   request      = "64KiB"
  #   response     = "1MiB"
  #   http_timeout = "10s"         # shorter than timeout
  #   requests     = 256           # HTTP requests under way
  #   instances    = 64            # held by open sockets
  #   sockets      = 8             # of one login
  #   log_lines    = 20            # of one run
  # }
}

group "default" {                  # what an account inherits; "default" always exists
  home        = "./data/files/{username}" # made at the first login; default: files/{username} in data_dir
  create_home = true
  permissions = ["allow-full-control"]    # or a list of: deny-full-control, allow-read, allow-list,
                                          # allow-traverse, allow-write, allow-create-folder, allow-rename,
                                          # allow-delete-file, allow-delete-folder, allow-set-attributes

  # Other permissions for some paths: the first that matches counts, in place of those above. * stands for
  # slashes too, ? for one character, [a-z] for one of some; or "m/REGULAR EXPRESSION/".
  # path "/incoming/*" {
  #   permissions = ["allow-list", "allow-traverse", "allow-write"]
  # }

  # Whether its members may change their passwords: SITE PSWD old new. Who must, can't do anything else before.
  allow_own_password_change = false

  max_upload_rate   = "0"          # bytes a second of one member over all sessions, such as "10MiB"; "0": no bound
  max_download_rate = "0"
  max_bytes         = "0"          # quota of the home folder, such as "10GiB", without its virtual folders; "0": no bound
  max_files         = 0            # the same in files and folders. sallyport account set NAME --max-bytes ... sets all four for one account

  # Other rules for the passwords of its members; what is not said is as for all.
  # password_policy {
  #   minimum_length = 16
  # }

  # A folder of this machine that users see in their home. It must be there; real may hold {username}.
  # virtual_folder "/shared" {
  #   real = "/srv/shared"
  # }
}

password_policy {                  # for every password that is set, by whoever sets it
  minimum_length         = 11      # characters
  maximum_length         = 200     # 64 or more; a longer one is refused, never cut
  minimum_strength       = 3       # 0 to 4, by zxcvbn
  character_requirements = []      # or some of: lowercase, uppercase, digit, symbol
  forbidden              = []      # beside 30,000 well-known ones; also lines(file("passwords.txt"))
  history                = 8       # so many of the last ones may not come again, the present one among them
  lifetime               = "0s"    # or "365d": then it must be changed
  hashing_scheme         = "argon2id" # or bcrypt-sha256, scrypt, pbkdf2-sha512, crypt-sha512. A login with the right
  hashing_cost           = 19456   # password makes an older hash anew. For argon2id it is KiB of memory
}

attempts {                         # wrong passwords
  per_account = 5                  # within the window: then the account is locked
  per_source  = 20                 # within the window: then the address is banned
  window      = "10m"
  lock        = "15m"              # how long a lock or ban lasts; each time in a row twice as long, at most a day
  sources     = []                 # or ["allow 10.0.0.0/8", "deny 0.0.0.0/0", "deny ::/0"]: the first that fits counts
                                   # for an address. What is allowed is never banned
}

approvals {                        # how often a person is asked for a second factor
  per_person = 5                   # requests within the window
  window     = "10m"
  pause      = "2m"                # after a denial
}

# How users get to know their passwords and one-time codes: account add --invite. Without this block no mail is sent.
# mail {
#   server     = "smtp.example.org:587"
#   tls        = "starttls"        # required; or "implicit" (usually port 465), or, on loopback only, "none"
#   user       = "ftps@example.org" # user and password: without both the server is not logged in to
#   password   = file("/etc/sallyport/mail.secret")
#   from       = "Sallyport <ftps@example.org>"
#   ca         = file("ca.pem")    # trusted in place of the system's
#   timeout    = "30s"             # for a mail
#   invitation = "24h"             # how long the code in an invitation is good
#   login_at   = "ftps.example.org:21" # where users log in, as the mail tells them
# }

events {
  listen        = "127.0.0.1:4222" # the embedded NATS for subscribers; "": none
  # certificate = "/etc/sallyport/events.crt"  # PEM, with private_key. Without them only loopback
  # private_key = "/etc/sallyport/events.key"  # is allowed, since events would travel in the clear
  retention     = "90d"
  size          = "1GiB"           # of the audit events, and a quarter of activity; then the oldest go
  required      = true             # a login whose event can't be stored is refused. false: it is let in
  unknown_names = false            # true: events name users whom no method knows (people type passwords there)

  # Who may read, beside "subscriber", whose key is in data_dir/private. "sallyport events key FILE" makes keys.
  # user "siem" {
  #   key      = "UAP4NCAIK7SIOKSGG2K6FNM2HBAJEO77FC2DEVRYLSZVTPBAMJYSI6QH"
  #   subjects = ["sallyport.v1.login.>", "sallyport.v1.account.>"]  # without: all
  # }

  # A copy of all events on another NATS, 2.12 or newer, in its stream "sallyport".
  # forward {
  #   url      = "tls://nats.example.org:4222"
  #   seed     = file("/etc/sallyport/forward.nk")  # or user and password
  #   ca       = file("ca.pem")    # trusted in place of the system's
  # }
}

# For Prometheus, on loopback: /metrics, /healthz, /readyz.
# metrics {
#   listen = "127.0.0.1:9121"
# }
