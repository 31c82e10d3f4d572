// Writes, from npm's zxcvbn 4.4.2 (MIT, Dropbox): strength.json, what it says of some passwords, which the test compares
// ours with, and ../words.txt, its lists: in line N what is the Nth most common password, word of the English Wikipedia, female
// name, surname, word of television, and male name. Nothing is random: it writes the same again.
//
//   npm install zxcvbn@4.4.2 && node strength.mjs
import { createRequire } from "node:module";
import { writeFileSync } from "node:fs";

const require = createRequire(process.cwd() + "/");
const zxcvbn = require("zxcvbn");
const lists = require("zxcvbn/lib/frequency_lists");

let seed = 42;
const next = (n) => (seed = (seed * 1103515245 + 12345) % 2147483648) % n; // as C's rand
const pick = (list) => list[next(list.length)];
const digits = (n) => Array.from({ length: n }, () => next(10)).join("");
const random = (n, letters) => Array.from({ length: n }, () => letters[next(letters.length)]).join("");
const title = (word) => word[0].toUpperCase() + word.slice(1);
const leet = (word) => word.replace(/a/g, "@").replace(/o/g, "0").replace(/e/g, "3").replace(/i/g, "1").replace(/s/g, "$");
const word = () => pick(lists.english_wikipedia.slice(0, 8000));
const common = () => pick(lists.passwords.slice(0, 10000));
const cyrillic = "абвгдежзиклмнопрстуфхцчшщэюя", han = "密码中国人民大小上下天地日月水火";

const makers = [
  () => common(), () => common() + digits(2), () => title(common()) + "!", () => leet(common()), () => leet(title(common())) + digits(4),
  () => word() + word(), () => word() + " " + word() + " " + word(), () => [word(), word(), word(), word()].join("-"), () => title(word()) + title(word()) + digits(2),
  () => pick(lists.male_names) + pick(lists.surnames) + digits(2), () => pick(lists.female_names) + (1950 + next(70)), () => digits(6), () => digits(10),
  () => `${1 + next(28)}.${1 + next(12)}.${1940 + next(80)}`, () => random(8, "abcdefghijklmnopqrstuvwxyz"), () => random(11, "abcdefghijklmnopqrstuvwxyz0123456789"),
  () => random(12, "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789!#%&/()=?"), () => pick(["qwertz", "qwerty", "asdfgh", "1qaz2wsx", "zaq12wsx", "poiuyt"]) + pick(["", "123", "qwerty", "1qaz"]),
  () => pick(["abc", "xyz", "123", "aB3"]).repeat(2 + next(4)), () => common().repeat(2), () => random(5 + next(6), cyrillic), () => random(3 + next(6), han),
  () => pick(["abcdefghij", "9876543210", "aabbccddeeff", "13579246"]) + pick(["", "k", "!"]), () => word() + pick(["@", "#", "_"]) + digits(3), () => common() + common(),
];
const passwords = new Set(["briansmith4mayor", "correcthorsebatterystaple", "пароль", "密码密码密码密码", "1qaz2wsx3edc4rfv", "D0g..................", "Tr0ub4dour&3"]);
for (let i = 0; passwords.size < 1500; i++) passwords.add(makers[i % makers.length]());

const out = [...passwords].filter((p) => p.length <= 48).map((p) => JSON.stringify({ password: p, score: zxcvbn(p).score }));
writeFileSync("strength.json", "[\n" + out.join(",\n") + "\n]\n");
const ranks = lists.passwords.map((_, i) => Object.values(lists).map((l) => l[i] ?? "").join("\t").replace(/\t+$/, ""));
writeFileSync("../words.txt", ranks.join("\n") + "\n");
