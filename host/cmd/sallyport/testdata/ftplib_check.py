"""What people do with FTPS, with Python's own ftplib. Arguments: mode host port version ca user password."""
import ftplib
import hashlib
import io
import socket
import ssl
import sys

mode, host, port, version, ca, user, password = sys.argv[1:]


class Implicit(ftplib.FTP_TLS):
    def connect(self, host="", port=0, timeout=-999, source_address=None):
        self.host, self.port = host, port
        sock = socket.create_connection((host, port), 30)
        self.af = sock.family
        self.sock = self.context.wrap_socket(sock, server_hostname=host)
        self.file = self.sock.makefile("r", encoding="utf-8")
        self.welcome = self.getresp()
        return self.welcome

    def auth(self):
        pass


context = ssl.create_default_context(cafile=ca)
wanted = ssl.TLSVersion.TLSv1_2 if version == "1.2" else ssl.TLSVersion.TLSv1_3
context.minimum_version = context.maximum_version = wanted

ftp = (Implicit if mode == "implicit" else ftplib.FTP_TLS)(context=context, timeout=30)
ftp.encoding = "utf-8"
ftp.connect(host, int(port))
ftp.login(user, password)
ftp.prot_p()
assert ftp.sock.version() == "TLSv" + version, ftp.sock.version()


def get(name, rest=None):
    parts = []
    ftp.retrbinary("RETR " + name, parts.append, rest=rest)
    return b"".join(parts)


data = bytes(range(256)) * 1000
ftp.mkd("folder")
ftp.cwd("folder")
assert ftp.pwd() == "/folder"
ftp.storbinary("STOR a file.bin", io.BytesIO(data))
assert get("a file.bin") == data
assert get("a file.bin", rest=100) == data[100:]
ftp.storbinary("STOR part.bin", io.BytesIO(data[:1000]))
ftp.storbinary("STOR part.bin", io.BytesIO(data[1000:]), rest=1000)
assert get("part.bin") == data
ftp.storbinary("APPE part.bin", io.BytesIO(b"end"))
assert get("part.bin") == data + b"end"
assert ftp.size("part.bin") == len(data) + 3
digest = hashlib.sha256(data + b"end").hexdigest()
assert digest in ftp.sendcmd("HASH part.bin")
assert digest in ftp.sendcmd("XSHA256 part.bin")
assert ftp.sendcmd("MFMT 20200102030405 part.bin").startswith("213")
assert ftp.sendcmd("MDTM part.bin") == "213 20200102030405"
facts = {name: f for name, f in ftp.mlsd()}
assert facts["part.bin"]["size"] == str(len(data) + 3) and facts["part.bin"]["type"] == "file", facts
assert facts["part.bin"]["modify"] == "20200102030405"
assert "Size=%d" % (len(data) + 3) in ftp.sendcmd("MLST part.bin")
assert sorted(ftp.nlst()) == ["a file.bin", "part.bin"]
lines = []
ftp.retrlines("LIST", lines.append)
assert len(lines) == 2, lines
ftp.rename("part.bin", "имя.bin")
ftp.delete("имя.bin")
ftp.delete("a file.bin")
ftp.cwd("..")
ftp.rmd("folder")
for bad in ("RETR ../../etc/passwd", "SIZE nothing", "CWD nowhere"):
    try:
        ftp.voidcmd(bad) if not bad.startswith("RETR") else get(bad[5:])
        sys.exit("allowed: " + bad)
    except ftplib.error_perm:
        pass
ftp.quit()
print("ok")
