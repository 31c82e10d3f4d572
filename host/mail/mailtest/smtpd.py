# A mail server for tests: STARTTLS, authentication, refusals. It prints its port, and writes each mail to a file.
# Usage: smtpd.py FOLDER CERTIFICATE KEY starttls|implicit|none
import asyncio, logging, os, ssl, sys
from aiosmtpd.smtp import SMTP, AuthResult

folder, certificate, key, mode = sys.argv[1:]
logging.disable(logging.CRITICAL)


class Handler:
    count = 0

    async def handle_MAIL(self, server, session, envelope, address, options):
        if address.startswith("nobody@"):
            return "550 5.7.1 sender refused"
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("refused@"):
            return "550 5.1.1 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        if envelope.rcpt_tos[0].startswith("full@"):
            return "452 4.2.2 mailbox full"
        Handler.count += 1
        with open(os.path.join(folder, ".new"), "wb") as f:
            f.write(envelope.content)
        os.rename(os.path.join(folder, ".new"), os.path.join(folder, "%d.eml" % Handler.count))
        return "250 OK"


def authenticate(server, session, envelope, mechanism, data):
    ok = data.login == b"relay" and data.password == b"relay-secret"
    return AuthResult(success=ok, handled=ok)


context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
context.load_cert_chain(certificate, key)
options, tls = dict(authenticator=authenticate), None
if mode == "starttls":
    options.update(tls_context=context, require_starttls=True, auth_required=True)
elif mode == "implicit":
    options.update(auth_required=True, auth_require_tls=False)
    tls = context
else:
    options.update(auth_require_tls=False)


async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(Handler(), loop=loop, **options), "127.0.0.1", 0, ssl=tls)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


asyncio.run(main())
