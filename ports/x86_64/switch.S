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

/* Both make a task by clone that calls a function on its own stack and ends.
   rdi function, rsi argument, rdx stack top, rcx where its id stands, if anywhere. */
	.macro	run_in_task name, flags, end
	.globl	\name
	.hidden	\name
	.type	\name, @function
\name:
	.cfi_startproc
	and	$-16, %rdx
	sub	$16, %rdx
	mov	%rdi, (%rdx)
	mov	%rsi, 8(%rdx)
	mov	%rdx, %rsi
	mov	%rcx, %rdx
	mov	%rcx, %r10
	mov	$\flags, %edi
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
	mov	$\end, %eax
	syscall
	hlt
	.cfi_endproc
	.size	\name, .-\name
	.endm

/* A process: CLONE_VM | CLONE_VFORK, which leave rcx unused; exit_group. */
	run_in_task port_call_in_child, 0x4100, 231

/* A task of this process, as pthread_create makes it, but for the TLS: CLONE_VM | CLONE_FS |
   CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_PARENT_SETTID |
   CLONE_CHILD_CLEARTID; exit. */
	run_in_task port_start_helper, 0x350f00, 60

/* The stop signal's return: the kernel jumps here when the handler returns. */
	.globl	port_signal_return
	.hidden	port_signal_return
	.type	port_signal_return, @function
port_signal_return:
	mov	$15, %eax
	syscall
	.size	port_signal_return, .-port_signal_return
	.section .note.GNU-stack,"",@progbits
