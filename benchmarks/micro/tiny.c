/* tiny.c: tiny objects that live for a moment, in one thread.

   The shape of cfrac, a program that factors numbers by continued fractions, in the allocation
   suite of Zorn and Grunwald (Grunwald, Zorn and Henderson 1993): each step of an arithmetic on
   small big numbers makes a fresh number of some 16 to 48 bytes and drops its operands. Here:
   powers modulo a number, digit by digit. */
#include "micro.h"

struct number {
  unsigned digits;
  uint32_t digit[];
};

static struct number *new_number(unsigned digits) {
  struct number *number = get(sizeof *number + digits * sizeof *number->digit);
  number->digits = digits;
  return number;
}

static struct number *trimmed(struct number *number) {
  while (number->digits > 0 && number->digit[number->digits - 1] == 0) number->digits--;
  return number;
}

static struct number *multiply(const struct number *a, const struct number *b) {
  struct number *product = new_number(a->digits + b->digits);
  memset(product->digit, 0, product->digits * sizeof *product->digit);
  for (unsigned i = 0; i < a->digits; i++) {
    uint64_t carry = 0;
    for (unsigned j = 0; j < b->digits; j++) {
      carry += product->digit[i + j] + (uint64_t)a->digit[i] * b->digit[j];
      product->digit[i + j] = (uint32_t)carry;
      carry >>= 32;
    }
    product->digit[i + b->digits] = (uint32_t)carry;
  }
  return trimmed(product);
}

/* The remainder by a divisor of one digit, spread over as many digits as the caller works with. */
static struct number *remainder_of(const struct number *number, uint32_t divisor) {
  uint64_t rest = 0;
  for (unsigned i = number->digits; i-- > 0;) rest = (rest << 32 | number->digit[i]) % divisor;
  struct number *result = new_number(1);
  result->digit[0] = (uint32_t)rest;
  return trimmed(result);
}

static struct number *sum_of(const struct number *a, uint32_t addend) {
  struct number *sum = new_number(a->digits + 1);
  uint64_t carry = addend;
  for (unsigned i = 0; i < a->digits; i++) {
    carry += a->digit[i];
    sum->digit[i] = (uint32_t)carry;
    carry >>= 32;
  }
  sum->digit[a->digits] = (uint32_t)carry;
  return trimmed(sum);
}

/* base to the exponent, modulo the divisor, each intermediate a block of its own. */
static uint32_t power(uint32_t base, uint32_t exponent, uint32_t divisor) {
  struct number *result = new_number(1), *square = new_number(1);
  result->digit[0] = 1;
  square->digit[0] = base;
  for (; exponent > 0; exponent >>= 1) {
    if (exponent & 1) {
      struct number *product = multiply(result, square);
      free(result);
      result = remainder_of(product, divisor);
      free(product);
    }
    struct number *squared = multiply(square, square);
    struct number *shifted = sum_of(squared, exponent & 7);
    free(squared);
    free(square);
    square = remainder_of(shifted, divisor);
    free(shifted);
  }
  uint32_t value = result->digits > 0 ? result->digit[0] : 0;
  free(result);
  free(square);
  return value;
}

uint64_t run_tiny(unsigned threads, unsigned percent) {
  (void)threads;
  uint64_t state = 1, sum = 0;
  for (uint64_t rounds = share_of(200000, percent, 1); rounds > 0; rounds--) {
    uint64_t r = next_random(&state);
    sum = sum * 31 + power((uint32_t)r | 1, (uint32_t)(r >> 32) | 1u << 31, 0xfffffffb);
  }
  return sum;
}
