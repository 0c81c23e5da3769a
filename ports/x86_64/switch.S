/* switch.S: runs a function on another stack with the callee-saved registers spilled on the
   caller's own, where the collector scans them (setjmp would mangle some of them). */
	.text
	.globl	port_call_on_stack
	.hidden	port_call_on_stack
	.type	port_call_on_stack, @function
port_call_on_stack:	/* rdi function, rsi argument, rdx stack top, rcx where to publish rsp */
	.cfi_startproc
	push	%rbp
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %rbp, 0
	push	%rbx
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	mov	%rsp, (%rcx)
	mov	%rsp, %rbp
	.cfi_def_cfa %rbp, 56
	mov	%rdx, %rsp
	and	$-16, %rsp
	mov	%rdi, %rax
	mov	%rsi, %rdi
	call	*%rax
	mov	%rbp, %rsp
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%rbx
	pop	%rbp
	.cfi_def_cfa %rsp, 8
	ret
	.cfi_endproc
	.size	port_call_on_stack, .-port_call_on_stack

/* Makes a process by clone(CLONE_VM | CLONE_VFORK) that calls a function on its own stack and ends. */
	.globl	port_call_in_child
	.hidden	port_call_in_child
	.type	port_call_in_child, @function
port_call_in_child:	/* rdi function, rsi argument, rdx stack top */
	.cfi_startproc
	and	$-16, %rdx
	sub	$16, %rdx
	mov	%rdi, (%rdx)
	mov	%rsi, 8(%rdx)
	mov	%rdx, %rsi
	mov	$0x4100, %edi
	xor	%edx, %edx
	xor	%r10d, %r10d
	xor	%r8d, %r8d
	mov	$56, %eax
	syscall
	test	%rax, %rax
	jz	1f
	ret
1:	.cfi_undefined %rip
	xor	%ebp, %ebp
	pop	%rax
	pop	%rdi
	call	*%rax
	xor	%edi, %edi
	mov	$231, %eax
	syscall
	hlt
	.cfi_endproc
	.size	port_call_in_child, .-port_call_in_child

/* clone(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
   CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID), as pthread_create does it, but for the TLS. */
	.globl	port_start_helper
	.hidden	port_start_helper
	.type	port_start_helper, @function
port_start_helper:	/* rdi function, rsi argument, rdx stack top, rcx where its id stands */
	.cfi_startproc
	and	$-16, %rdx
	sub	$16, %rdx
	mov	%rdi, (%rdx)
	mov	%rsi, 8(%rdx)
	mov	%rdx, %rsi
	mov	%rcx, %rdx
	mov	%rcx, %r10
	mov	$0x350f00, %edi
	xor	%r8d, %r8d
	mov	$56, %eax
	syscall
	test	%rax, %rax
	jz	1f
	ret
1:	.cfi_undefined %rip
	xor	%ebp, %ebp
	pop	%rax
	pop	%rdi
	call	*%rax
	xor	%edi, %edi
	mov	$60, %eax
	syscall
	hlt
	.cfi_endproc
	.size	port_start_helper, .-port_start_helper

/* The stop signal's return: the kernel jumps here when the handler returns. */
	.globl	port_signal_return
	.hidden	port_signal_return
	.type	port_signal_return, @function
port_signal_return:
	mov	$15, %eax
	syscall
	.size	port_signal_return, .-port_signal_return
	.section .note.GNU-stack,"",@progbits
