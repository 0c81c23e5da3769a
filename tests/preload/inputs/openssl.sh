# openssl.sh: ciphers, digests, keys, requests, certificates, signatures; what is random goes round
# and is checked, and only what is fixed is printed.
set -e
awk 'BEGIN { for (i = 0; i < 20000; i++) print i * 7919 % 100003 }' > plain
for cipher in aes-256-cbc aes-128-ctr camellia-128-cbc chacha20; do
    openssl enc -$cipher -pbkdf2 -iter 1000 -S 0102030405060708 -k secret -in plain -out sealed
    md5sum < sealed
    openssl enc -d -$cipher -pbkdf2 -iter 1000 -S 0102030405060708 -k secret -in sealed | cmp - plain
done
openssl dgst -sha256 plain
openssl dgst -sha3-512 -hmac key plain
openssl genrsa -out rsa.pem 2048 2> /dev/null
openssl rsa -in rsa.pem -check -noout
openssl ecparam -name prime256v1 -genkey -noout -out ec.pem
for key in rsa ec; do
    openssl req -new -x509 -key $key.pem -subj /CN=$key.example.org -days 30 -out $key.crt -batch
    openssl x509 -in $key.crt -noout -subject
    openssl verify -CAfile $key.crt $key.crt
    openssl dgst -sha256 -sign $key.pem -out signed plain
    openssl x509 -in $key.crt -pubkey -noout > public.pem
    openssl dgst -sha256 -verify public.pem -signature signed plain
done
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-384 -nodes -keyout leaf.pem -subj /CN=leaf \
    -out leaf.csr -batch 2> /dev/null
openssl x509 -req -in leaf.csr -CA rsa.crt -CAkey rsa.pem -CAcreateserial -days 2 -out leaf.crt 2> /dev/null
openssl verify -CAfile rsa.crt leaf.crt
openssl pkcs12 -export -inkey leaf.pem -in leaf.crt -out leaf.p12 -passout pass:x
openssl pkcs12 -in leaf.p12 -passin pass:x -nodes 2> /dev/null | grep -c BEGIN
openssl cms -sign -binary -in plain -signer ec.crt -inkey ec.pem -outform DER -nodetach -out signed.cms
openssl cms -verify -binary -in signed.cms -inform DER -CAfile ec.crt -purpose any -out again 2> /dev/null
cmp again plain
openssl prime -generate -bits 128 > /dev/null
openssl list -digest-algorithms | wc -l
openssl ciphers -v ALL | wc -l
openssl asn1parse -in ec.crt | wc -l
