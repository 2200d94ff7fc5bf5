// Makes one call by the vendor's official SDK. Standard input: {address, secretId, secretKey, method, action, request}; standard
// output: {answer} or {code, requestId}. The modules are found by NODE_PATH.
const http = require('node:http');
const { faceid } = require('tencentcloud-sdk-nodejs');

async function main() {
  const { address, secretId, secretKey, method, action, request } = JSON.parse(require('node:fs').readFileSync(0, 'utf8'));
  const [host, port] = address.split(':');
  // The SDK takes the first label of the endpoint for the name of the service, so the endpoint has the vendor's.
  const agent = new http.Agent({
    lookup: (_, options, found) => (options.all ? found(null, [{ address: host, family: 4 }]) : found(null, host, 4)),
  });
  const client = new faceid.v20180301.Client({
    credential: { secretId, secretKey },
    region: '',
    profile: {
      httpProfile: { protocol: 'http://', endpoint: `faceid.localhost:${port}`, reqMethod: method, reqTimeout: 10, agent },
    },
  });
  try {
    return { answer: await client[action](request) };
  } catch (error) {
    return { code: error.code || String(error), requestId: error.requestId };
  }
}

main().then((told) => console.log(JSON.stringify(told)));
