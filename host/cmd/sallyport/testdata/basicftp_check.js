// Uploads, lists, resumes, downloads, renames and removes with npm's basic-ftp; prints ok.
const [modules, mode, host, port, version, ca, user, password, dir] = process.argv.slice(2);
const fs = require("node:fs");
const { Client } = require(`${modules}/basic-ftp`);

(async () => {
  fs.mkdirSync(dir, { recursive: true });
  const content = "0123456789".repeat(100000);
  fs.writeFileSync(`${dir}/up`, content);
  const client = new Client(20000);
  const secureOptions = { ca: fs.readFileSync(ca), minVersion: `TLSv${version}`, maxVersion: `TLSv${version}`, host };
  await client.access({ host, port: Number(port), user, password, secure: mode === "implicit" ? "implicit" : true, secureOptions });
  await client.ensureDir("folder/deep");
  await client.uploadFrom(`${dir}/up`, "a file.bin");
  fs.writeFileSync(`${dir}/more`, "abc");
  await client.appendFrom(`${dir}/more`, "a file.bin");
  const [entry] = await client.list();
  if (entry.name !== "a file.bin" || entry.size !== 1000003) throw new Error(JSON.stringify(entry));
  await client.downloadTo(`${dir}/down`, "a file.bin");
  if (fs.readFileSync(`${dir}/down`, "utf8") !== content + "abc") throw new Error("what came down differs");
  fs.writeFileSync(`${dir}/part`, content.slice(0, 400000));
  await client.downloadTo(`${dir}/part`, "a file.bin", 400000);
  if (fs.readFileSync(`${dir}/part`, "utf8") !== content + "abc") throw new Error("the resumed download differs");
  await client.rename("a file.bin", "b.bin");
  await client.cd("/");
  await client.removeDir("folder");
  client.close();
  console.log("ok");
})().catch((e) => { console.error(e); process.exit(1); });
