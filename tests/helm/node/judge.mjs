// Judges objects of kinds that are not Kubernetes' own, by models made from their published CRDs: reads a JSON list of objects, and
// prints every fault. TypeScript finds what a field may not be, and fields that are not known, which a cluster would drop without a
// word; the models' validators find what a type cannot say.
import { createRequire } from "node:module";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [modules, folder] = process.argv.slice(2);
const ts = createRequire(join(modules, "package.json"))("typescript");
const PACKAGES = {
  "external-secrets.io": "external-secrets",
  "gateway.networking.k8s.io": "gateway-api",
  "monitoring.coreos.com": "prometheus-operator",
  "networking.istio.io": "istio",
  "security.istio.io": "istio",
};

const faults = [];
const objects = JSON.parse(readFileSync(0, "utf8"));
const model = ({ apiVersion, kind }) => {
  const [group] = apiVersion.split("/");
  return join(modules, "node_modules/@kubernetes-models", PACKAGES[group], apiVersion, kind);
};

const files = objects.map((object, number) => {
  const file = join(folder, `object-${number}.ts`);
  const type = `I${object.kind}`;
  const lines = [
    `import type { ${type} } from ${JSON.stringify(model(object))};`,
    `export const object: ${type} & { apiVersion: string; kind: string } = ${JSON.stringify(object, null, 2)};`,
  ];
  writeFileSync(file, lines.join("\n"));
  return file;
});
const program = ts.createProgram(files, {
  module: ts.ModuleKind.ESNext,
  moduleResolution: ts.ModuleResolutionKind.Bundler,
  noEmit: true,
  skipLibCheck: true,
  strict: true,
  target: ts.ScriptTarget.ES2022,
  types: [],
});
for (const { file, messageText } of ts.getPreEmitDiagnostics(program)) {
  const number = files.indexOf(file?.fileName);
  const { kind, metadata } = objects[number] ?? { kind: "?" };
  faults.push(`${kind} ${metadata?.name}: ${ts.flattenDiagnosticMessageText(messageText, "\n  ")}`);
}

for (const object of objects) {
  const { [object.kind]: Model } = await import(pathToFileURL(`${model(object)}.js`));
  try {
    new Model(object).validate();
  } catch (error) {
    faults.push(`${object.kind} ${object.metadata.name}: ${error.message}`);
  }
}

console.log(`${objects.length} objects judged`);
faults.forEach((fault) => console.error(fault));
process.exitCode = faults.length ? 1 : 0;
